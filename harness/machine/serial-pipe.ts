/** The first serial port as a pair of FIFOs. */
import { constants, openSync } from 'node:fs'
import { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { LaunchError } from '../base/errors.ts'
import { errorCode } from '../system/files.ts'
import type { Tools } from '../system/tools.ts'

/** Paths; what the guest reads is `input`. */
export interface SerialFifos {
  readonly input: string
  readonly output: string
}

/** The names that QEMU gives the two FIFOs of `-chardev pipe`. */
export function serialFifos(pipe: string): SerialFifos {
  return { input: `${pipe}.in`, output: `${pipe}.out` }
}

/**
 * The command that makes the FIFOs, which has to happen before QEMU starts.
 *
 * Not a socket: QEMU hands over a guest's output byte by byte, a unix socket counts each of them as 768 and is full
 * after some 280, and edk2's terminal gives up on a byte after 173 us. So a harness that is busy for a few milliseconds
 * lost a screen. A FIFO holds 64 KiB.
 */
export function serialFifosCommand(pipe: string): readonly string[] {
  const { input, output } = serialFifos(pipe)
  return ['mkfifo', '-m', '600', input, output]
}

/** Throws MaterialError `build-failed` where they cannot be made: one of them is there. */
export async function makeSerialFifos(tools: Tools, pipe: string): Promise<void> {
  const [program = '', ...args] = serialFifosCommand(pipe)
  await tools.run(program, args)
}

/**
 * Our ends. QEMU has to have opened its own, as it has where it listens for QMP. Throws LaunchError `qmp-closed` where
 * it is gone by now.
 */
export function openSerialPipe(pipe: string): Duplex {
  const { input, output } = serialFifos(pipe)
  const readable = openFifo(output, constants.O_RDONLY)
  try {
    const writable = openFifo(input, constants.O_WRONLY)
    return Duplex.from({ readable, writable })
  } catch (error) {
    readable.destroy()
    throw error
  }
}

function openFifo(file: string, mode: number): Socket {
  try {
    const fd = openSync(file, mode | constants.O_NONBLOCK)
    return new Socket({ fd, readable: mode === constants.O_RDONLY, writable: mode === constants.O_WRONLY })
  } catch (cause) {
    // Nobody reads what we would write.
    if (errorCode(cause) !== 'ENXIO') throw cause
    throw new LaunchError('QEMU closed its console', { code: 'qmp-closed', cause })
  }
}
