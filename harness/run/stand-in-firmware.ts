/**
 * Firmware of plain machines in the place of an emulated TEE's own. It is launched as one file, as `-bios` has it: the
 * variable store of its host, then the code. It runs from flash, and what a guest writes there is gone when QEMU ends, as
 * no variable of a TEE's guest outlives it.
 */
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { UsageError } from '../base/errors.ts'
import type { FirmwareLoad } from '../machine/description.ts'
import type { PlatformDescriptor } from '../platforms/descriptor.ts'

type FlashFirmware = Extract<FirmwareLoad, { readonly kind: 'pflash' }>

interface StandInSpec {
  readonly bench: { readonly platform: PlatformDescriptor }
  /** Private, of the VM. */
  readonly directory: string
}

export class StandInFirmware {
  /** What is launched: one file, with code and variables as they were when it was made, or at the last launch. */
  readonly launched: Extract<FirmwareLoad, { readonly kind: 'bios' }>
  readonly #firmware: FlashFirmware

  private constructor(file: string, firmware: FlashFirmware) {
    this.launched = { kind: 'bios', file }
    this.#firmware = firmware
  }

  /** Undefined where the firmware is the platform's own. */
  static async open(
    firmware: FirmwareLoad,
    { bench, directory }: StandInSpec,
  ): Promise<StandInFirmware | undefined> {
    if (bench.platform.standIn === undefined || firmware.kind !== 'pflash') return undefined
    const standIn = new StandInFirmware(join(directory, 'launched-firmware.fd'), firmware)
    await standIn.#join()
    return standIn
  }

  /** For one QEMU process, with a variable store of its own in `directory`. */
  async launch(directory: string): Promise<FirmwareLoad> {
    await this.#join()
    const variables = join(directory, 'variables.fd')
    await copyFile(this.#firmware.variables, variables)
    return { ...this.#firmware, variables }
  }

  async #join(): Promise<void> {
    const { code, variables } = this.#firmware
    await writeFile(this.launched.file, Buffer.concat([await readFile(variables), await readFile(code)]), {
      mode: 0o600,
    })
  }
}

/** Throws UsageError `bad-scenario` for what is asked of the TEE's own firmware alone. */
export function requireOwnFirmware(platform: PlatformDescriptor, what: string): void {
  if (platform.standIn === undefined) return
  throw new UsageError(
    `${what} is about firmware of ${platform.id} itself, and other firmware stands in for it`,
    {
      ...{ code: 'bad-scenario', hint: 'Ask for no Secure Boot in `needs`' },
    },
  )
}
