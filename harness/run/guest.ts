/** What a scenario asks of a guest it is logged in to, above plain commands. */
import { GuestError } from '../base/errors.ts'
import type { Guest, GuestResult, RunOptions } from '../machine/guest/run.ts'
import type { ImageDescription } from '../materials/image-description.ts'
import type { EvidenceText } from './events.ts'

/** Where the guest keeps the count that its NV counter is compared with. */
const REMEMBERED = '/root/attestbed-count'
/** A user-defined NV index (TCG registry of reserved handles: 0x01800000 to 0x01BFFFFF are the owner's). */
const COUNTER_INDEX = '0x01800a77'
const PCR_PUBLIC_KEY = '/run/systemd/tpm2-pcr-public-key.pem'
const KEY_FILE = '/run/attestbed-recovery-key'
const EFI_VARIABLES = '/sys/firmware/efi/efivars'
const SECURE_BOOT = 'SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c'
/** TPM commands take seconds under TCG. */
const SLOW = { timeoutMs: 120_000 }

export class LabGuest {
  readonly #guest: Guest
  readonly #plainPartition: string | undefined
  readonly #onCommand: (argv: readonly string[]) => void

  readonly #onEvidence: (page: EvidenceText) => void

  /** `onCommand` hears of each command before it runs, `onEvidence` of what was asked for. */
  constructor(
    guest: Guest,
    image: ImageDescription,
    onCommand: (argv: readonly string[]) => void,
    onEvidence: (page: EvidenceText) => void = () => {},
  ) {
    this.#guest = guest
    this.#onEvidence = onEvidence
    this.#onCommand = onCommand
    this.#plainPartition = image.plainPartition
  }

  /** For the record: evidence that came out of this guest. */
  showEvidence(page: EvidenceText): void {
    this.#onEvidence(page)
  }

  /** Runs a command to its end; a non-zero exit is a result. */
  run(argv: readonly string[], options?: RunOptions): Promise<GuestResult> {
    this.#onCommand(argv)
    return this.#guest.run(argv, options)
  }

  /** Runs a command that must exit with 0: GuestError `command-failed` otherwise. */
  succeed(argv: readonly string[], options?: RunOptions): Promise<GuestResult> {
    this.#onCommand(argv)
    return this.#guest.succeed(argv, options)
  }

  writeFile(path: string, content: Uint8Array): Promise<void> {
    this.#onCommand(['write', path])
    return this.#guest.writeFile(path, content)
  }

  /** Standard output of a command that must succeed, without the blanks around it. */
  async text(argv: readonly string[], options?: RunOptions): Promise<string> {
    return (await this.succeed(argv, options)).stdout.toString().trim()
  }

  /** Starts a command that ends the session, such as a reboot, and does not wait for its end. */
  async leaveBy(command: string): Promise<void> {
    this.#onCommand([command])
    await this.#guest.begin(['sh', '-c', command])
  }

  async commandLine(): Promise<string> {
    return this.text(['cat', '/proc/cmdline'])
  }

  /** What the kernel's device mapper says of the devices below the root file system: `LUKS2`, or `none`. */
  async rootEncryption(): Promise<string> {
    const source = await this.text(['findmnt', '-n', '-v', '-o', 'SOURCE', '/'])
    const devices = await this.text(['lsblk', '-n', '-l', '-s', '-o', 'KNAME,TYPE', source])
    const crypt = devices.split('\n').find((line) => /\scrypt$/.test(line))
    if (crypt === undefined) return 'none'
    // cryptsetup names every mapping that it makes CRYPT-<format>-<UUID>-<name>.
    const uuid = await this.text(['cat', `/sys/class/block/${crypt.split(/\s/)[0]}/dm/uuid`])
    return /^CRYPT-([A-Z0-9]+)-/.exec(uuid)?.[1] ?? 'none'
  }

  /**
   * Whether the firmware enforces Secure Boot, by the guest's efivarfs: false where the variable says so, and where there
   * are variables but not that one (UEFI 2.10, 3.3). Throws GuestError `protocol` where there are none to ask.
   */
  async secureBoot(): Promise<boolean> {
    let names = await this.text(['ls', EFI_VARIABLES])
    if (names === '') {
      await this.succeed(['mount', '-t', 'efivarfs', 'efivarfs', EFI_VARIABLES])
      names = await this.text(['ls', EFI_VARIABLES])
    }
    if (names === '')
      throw new GuestError(`cannot tell Secure Boot: ${EFI_VARIABLES} of the guest lists no variable`, {
        code: 'protocol',
      })
    if (!names.split(/\s+/).includes(SECURE_BOOT)) return false
    // Four bytes of attributes, then the value.
    const { stdout } = await this.succeed(['cat', `${EFI_VARIABLES}/${SECURE_BOOT}`])
    const value = stdout.length === 5 ? stdout[4] : undefined
    if (value === 0 || value === 1) return value === 1
    throw new GuestError(
      `cannot tell Secure Boot: its variable is ${stdout.subarray(0, 16).toString('hex')}, 5 bytes that end with 00 or 01 are required`,
      { code: 'protocol' },
    )
  }

  /** Mounts the disk's unencrypted partition. */
  async mountPlain(directory: string): Promise<void> {
    await this.succeed(['mkdir', '-p', directory])
    const device = await this.text(['blkid', '-t', `PARTLABEL=${this.#plainPartition ?? ''}`, '-o', 'device'])
    await this.succeed(['mount', device, directory])
  }

  /** The encrypted partition of the disk. */
  async luksDevice(): Promise<string> {
    const devices = await this.text(['blkid', '-t', 'TYPE=crypto_LUKS', '-o', 'device'])
    const [device] = devices.split('\n')
    if (device) return device
    throw new GuestError('cannot find the encrypted root: the guest has no LUKS partition', {
      code: 'protocol',
    })
  }

  /** Has the guest seal its root to its vTPM: to `pcrs`, and to the signed PCR 11 policy where its UKI carries one. */
  async sealRoot(options: { readonly recoveryKey: string; readonly pcrs: string }): Promise<void> {
    const device = await this.luksDevice()
    const signed = (await this.run(['test', '-e', PCR_PUBLIC_KEY])).exitCode === 0
    await this.succeed(['sh', '-c', 'umask 077; : >"$1"', 'sh', KEY_FILE])
    await this.#guest.writeFile(KEY_FILE, Buffer.from(options.recoveryKey), { secret: true })
    try {
      await this.succeed(
        [
          ...[
            'systemd-cryptenroll',
            `--unlock-key-file=${KEY_FILE}`,
            '--wipe-slot=tpm2',
            '--tpm2-device=auto',
          ],
          `--tpm2-pcrs=${options.pcrs}`,
          ...(signed ? [`--tpm2-public-key=${PCR_PUBLIC_KEY}`, '--tpm2-public-key-pcrs=11'] : []),
          device,
        ],
        SLOW,
      )
    } finally {
      await this.run(['rm', '-f', KEY_FILE])
    }
  }

  /** How many TPM2 tokens the header of the encrypted root has. */
  async tpm2Tokens(): Promise<number> {
    const { stdout } = await this.succeed(['cryptsetup', 'luksDump', await this.luksDevice()], SLOW)
    return stdout.toString().match(/^\s+\d+: systemd-tpm2$/gm)?.length ?? 0
  }

  /** Makes a monotonic NV counter in the vTPM (TPM 2.0 Library, part 1, 37.2.4). */
  async defineCounter(): Promise<void> {
    const attributes = 'ownerread|ownerwrite|authread|authwrite|nt=counter'
    await this.succeed(['tpm2_nvdefine', '-Q', '-C', 'o', '-s', '8', '-a', attributes, COUNTER_INDEX], SLOW)
  }

  /** Counts the NV counter up and has the encrypted root remember its value. */
  async countUp(): Promise<void> {
    await this.succeed(['tpm2_nvincrement', '-Q', '-C', 'o', COUNTER_INDEX], SLOW)
    await this.writeFile(REMEMBERED, Buffer.from(String(await this.readCounter())))
    await this.succeed(['sync'])
  }

  async readCounter(): Promise<number> {
    const { stdout } = await this.succeed(['tpm2_nvread', '-C', 'o', COUNTER_INDEX], SLOW)
    if (stdout.length === 8) return Number(stdout.readBigUInt64BE(0))
    throw new GuestError(`the NV counter ${COUNTER_INDEX} has 8 bytes, the guest read ${stdout.length}`, {
      code: 'protocol',
    })
  }

  async rememberedCount(): Promise<number> {
    const text = await this.text(['cat', REMEMBERED])
    if (/^\d{1,15}$/.test(text)) return Number(text)
    throw new GuestError(`the root remembers no count: ${REMEMBERED} holds "${text.slice(0, 40)}"`, {
      code: 'protocol',
    })
  }
}
