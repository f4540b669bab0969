/** The host's end of the port by which a guest without a TSM driver asks the emulated processor for evidence. */
import type { Duplex } from 'node:stream'
import { setTimeout as wait } from 'node:timers/promises'
import type { EmulatedProcessor, TeeAnswer } from './processor.ts'
import { encodeTsmAnswer, encodeTsmError, TsmLines, type TsmRequest } from './tsm-protocol.ts'

export interface TsmService extends Pick<EmulatedProcessor, 'provider'> {
  /** Evidence about `reportData`, 64 bytes. What it throws is told to the guest as a failure, without its words. */
  readonly report: (reportData: Uint8Array) => Promise<TeeAnswer>
}

export interface TsmPortOptions {
  /** From one answer to the next at the least, when more come; milliseconds. */
  readonly pauseMs?: number
  readonly onError?: (error: unknown) => void
}

/** A guest that asks without a pause takes a twentieth of a core at most. */
const PAUSE_MS = 20

/**
 * Answers one request at a time until the stream ends, and reads no further meanwhile: a guest that floods the port, or
 * never reads, fills its own queue and nothing of the host's. Resolves when the stream has closed; never rejects.
 */
export async function serveTsmPort(
  stream: Duplex,
  service: TsmService,
  { pauseMs = PAUSE_MS, onError = () => {} }: TsmPortOptions = {},
): Promise<void> {
  const lines = new TsmLines()
  let generation = 0
  try {
    for await (const chunk of stream)
      for (const request of lines.push(chunk as Buffer)) {
        // A chunk may hold hundreds of requests of a guest that is gone.
        if (stream.destroyed) return
        if (!('mistake' in request)) generation += 1
        await send(stream, await answerTo(request, { service, generation, onError }))
        await wait(pauseMs)
      }
  } catch (error) {
    // The connection broke: QEMU has gone, or the VM was reset.
    onError(error)
  } finally {
    stream.destroy()
  }
}

interface Answering {
  readonly service: TsmService
  readonly generation: number
  readonly onError: (error: unknown) => void
}

async function answerTo(request: TsmRequest, { service, generation, onError }: Answering): Promise<string> {
  if ('mistake' in request) return encodeTsmError(request.mistake)
  try {
    return encodeTsmAnswer(service, await service.report(request.reportData), generation)
  } catch (error) {
    onError(error)
    return encodeTsmError('the emulated processor failed; the harness says why')
  }
}

/** Resolves when the stream takes more, or has closed. */
function send(stream: Duplex, text: string): Promise<void> {
  if (stream.destroyed || stream.write(text)) return Promise.resolve()
  return new Promise((resolve) => {
    const done = () => {
      stream.off('drain', done)
      stream.off('close', done)
      resolve()
    }
    stream.once('drain', done)
    stream.once('close', done)
  })
}
