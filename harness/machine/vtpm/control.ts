/** swtpm's two channels: control (swtpm's tpm_ioctl.h, big-endian) and the TPM's own commands. */
import type { Socket } from 'node:net'
import { LaunchError, TimeoutError } from '../../base/errors.ts'

const CMD_INIT = 2
const CMD_SHUTDOWN = 3
/** No deletion of volatile state. */
const INIT_FLAGS = 0
const RESULT_BYTES = 4

/**
 * Powers the TPM on, as QEMU will do again. swtpm listens before it is ready, and loads and locks its state only
 * now: whoever comes second, or brings a broken state, learns it here and not from inside a guest.
 */
export async function askInit(socket: Socket, timeoutMs: number): Promise<void> {
  await control(socket, [CMD_INIT, INIT_FLAGS], timeoutMs)
}

/** Ends swtpm in order: its state is written. */
export async function askShutdown(socket: Socket, timeoutMs: number): Promise<void> {
  await control(socket, [CMD_SHUTDOWN], timeoutMs)
}

async function control(
  socket: Socket,
  words: readonly [number, ...number[]],
  timeoutMs: number,
): Promise<void> {
  const request = Buffer.alloc(4 * words.length)
  for (const [index, word] of words.entries()) request.writeUInt32BE(word, 4 * index)
  const isComplete = (answer: Buffer) => answer.length >= RESULT_BYTES
  const result = (await exchange(socket, request, { timeoutMs, isComplete })).readUInt32BE(0)
  if (result === 0) return
  throw new LaunchError(`swtpm refused control command ${words[0]} with result 0x${result.toString(16)}`, {
    code: 'swtpm-start',
  })
}

export interface ExchangeOptions {
  readonly timeoutMs: number
  /** Whether the answer is whole. */
  readonly isComplete: (answer: Buffer) => boolean
}

/**
 * Sends a request and gives its answer, on a channel where nothing comes unasked. Throws TimeoutError `swtpm`, and
 * LaunchError `swtpm-died` when the channel closes before the answer is whole.
 */
export function exchange(socket: Socket, request: Buffer, options: ExchangeOptions): Promise<Buffer> {
  const { timeoutMs, isComplete } = options
  return new Promise((resolve, reject) => {
    let answer = Buffer.alloc(0)
    const settle = (settled: () => void) => {
      clearTimeout(timer)
      socket.off('data', onData).off('close', onClose).off('error', onError)
      settled()
    }
    const onData = (chunk: Buffer) => {
      answer = Buffer.concat([answer, chunk])
      if (isComplete(answer)) settle(() => resolve(answer))
    }
    const died = (cause?: Error) =>
      settle(() =>
        reject(
          new LaunchError('swtpm closed its socket instead of answering', { code: 'swtpm-died', cause }),
        ),
      )
    const onError = (error: Error) => died(error)
    const onClose = () => died()
    const timer = setTimeout(
      () =>
        settle(() =>
          reject(new TimeoutError(`swtpm did not answer within ${timeoutMs} ms`, { code: 'swtpm' })),
        ),
      timeoutMs,
    )
    socket.on('data', onData).on('close', onClose).on('error', onError)
    socket.write(request)
  })
}
