/** What a TD's own registers will say of the UKI that QEMU brings, from the materials alone. */
import { readFile } from 'node:fs/promises'
import { UsageError } from '../base/errors.ts'
import { predictMappedDirectBoot } from '../measure/tdx/mapped-rtmr.ts'
import { predictDirectBoot, type RtmrPrediction } from '../measure/tdx/rtmr.ts'
import { type FirmwareCode, parseFirmwareCode } from '../measure/tpm/firmware-code.ts'
import type { LaunchRequest } from '../platforms/rehearsed-launch.ts'

/** As a policy names them; 48 bytes each, hex. */
export interface ExpectedRegisters {
  readonly rtmr1: readonly [string]
  readonly rtmr2: readonly [string]
}

const MIB = 2 ** 20

/** The firmware's volumes take a second to decompress, and are the same for every policy of a run. */
const parsed = new Map<string, Promise<FirmwareCode>>()

/** `isEmulated`: the firmware measures into a TPM. Throws UsageError `bad-scenario`, and FormatError. */
export async function predictRegisters(
  { firmware: file, memoryMiB, directBoot }: LaunchRequest,
  { isEmulated }: { readonly isEmulated: boolean },
): Promise<ExpectedRegisters> {
  if (directBoot === undefined)
    throw new UsageError('registers of a TD are predicted for a UKI that QEMU brings', {
      ...{ code: 'bad-scenario', hint: "make the VM with kernel: 'direct'" },
    })
  const firmware = await readFile(file)
  const code = parsed.get(file) ?? Promise.resolve(parseFirmwareCode(firmware))
  parsed.set(file, code)
  const machine = { firmware, code: await code, ...(memoryMiB && { memory: memoryMiB * MIB }) }
  const { kernel: path, initrd, commandLine = '' } = directBoot
  const kernel = {
    ...{ kernel: await readFile(path), commandLine },
    ...(initrd !== undefined && { initrd: await readFile(initrd) }),
  }
  const prediction = isEmulated
    ? predictMappedDirectBoot(machine, kernel)
    : predictDirectBoot(machine, kernel)
  return { rtmr1: [registerOf(prediction, 1)], rtmr2: [registerOf(prediction, 2)] }
}

function registerOf({ registers }: RtmrPrediction, index: number): string {
  const register = registers[index]
  if (register?.known) return register.value.toString('hex')
  throw new UsageError(`RTMR${index} cannot be predicted: ${register?.reasons.join(', ')}`, {
    code: 'bad-scenario',
  })
}
