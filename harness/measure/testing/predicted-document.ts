import {
  SYNTHETIC_SEV,
  type SyntheticOvmfOptions,
  type SyntheticSevSection,
  syntheticOvmf,
} from '../../formats/testing/synthetic-ovmf.ts'
import type { MeasuredDocument } from '../documents/document.ts'
import { snpDocument } from '../documents/prediction.ts'
import { cpuSignature } from '../sev/cpu-models.ts'
import { kernelHashes } from '../sev/kernel-hashes.ts'
import { snpFirmware } from '../snp/firmware.ts'
import { predictSnp } from '../snp/launch.ts'

/** Of the synthetic ROM. */
export const SECTIONS: readonly SyntheticSevSection[] = SYNTHETIC_SEV

export interface SyntheticLaunch {
  readonly firmware?: SyntheticOvmfOptions
  /** Offset of a byte of the ROM that is set to 1. */
  readonly changedByte?: number
  readonly vcpus?: number
  readonly cpu?: string
  /** Its content. */
  readonly kernel?: string
  readonly pages?: 'regions' | 'each'
}

/** A prediction for a synthetic ROM of 64 KiB, as a document. */
export function predictedSnp(launch: SyntheticLaunch = {}): MeasuredDocument {
  const { vcpus = 2, cpu = 'EPYC-v4', kernel, changedByte, pages = 'regions' } = launch
  const rom = syntheticOvmf({ size: 0x10000, ...launch.firmware })
  if (changedByte !== undefined) rom[changedByte] = 1
  const firmware = snpFirmware(rom)
  const predicted = predictSnp(firmware, {
    ...{ vcpus, cpu: cpuSignature(cpu) },
    ...(kernel !== undefined && { kernel: kernelHashes({ kernel: Buffer.from(kernel) }) }),
  })
  const inputs = {
    ...{ firmware: firmware.digest().toString('hex'), vcpus: String(vcpus), cpu },
    ...(kernel !== undefined && { kernel }),
  }
  return snpDocument(predicted, firmware, { platform: 'sev-snp', inputs, pages })
}
