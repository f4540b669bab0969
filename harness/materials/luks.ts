/**
 * LUKS2 headers, edited as files without the data behind them: libcryptsetup looks at the device's size only, so a
 * sparse file of that size will do. Every key-derivation is cheap on purpose: one that is calibrated to this host
 * takes 9 s under TCG, and nothing here protects a secret of anybody's.
 */

import { copyFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { FormatError, MaterialError } from '../base/errors.ts'
import type { Tools } from '../system/tools.ts'

const CHEAP_KDF = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000', '--hash', 'sha256']
/** What cryptsetup moves the data by, and twice the header that it makes of it. */
export const LUKS_RESERVED_MIB = 16
const BUILD_SLOT = 0
const RECOVERY_SLOT = 1

export interface TpmEnrolment {
  /** TPM2B_PUBLIC of the VM's storage root key, which is persistent in its vTPM. */
  readonly srkPublic: Uint8Array
  /** PEM file of the key whose signatures over PCR 11 are accepted; absent: no signed policy. */
  readonly pcrPublicKey?: string
  /** PCR number to its SHA-256 value in hex: must be so at every unsealing. */
  readonly literalPcrs?: Readonly<Record<number, string>>
}

export interface Enrolment {
  readonly tpm2?: TpmEnrolment
  readonly recoveryKey?: string
}

/** Encrypts a file system in a file, in place; the file must be `LUKS_RESERVED_MIB` larger than the file system. */
export async function encryptInPlace(
  tools: Tools,
  { file, keyFile, uuid }: { readonly file: string; readonly keyFile: string; readonly uuid: string },
): Promise<void> {
  const args = [
    ...['reencrypt', '--encrypt', '--batch-mode', '--resilience', 'none', '--uuid', uuid],
    // The lock would be in /run/cryptsetup, which is root's; nobody else knows this file yet.
    '--disable-locks',
    ...['--reduce-device-size', `${LUKS_RESERVED_MIB}M`, ...CHEAP_KDF, '--key-file', keyFile, file],
  ]
  // It makes a temporary header where it is started.
  await tools.run('cryptsetup', args, { cwd: dirname(file) })
}

/** Bytes before the encrypted data: all that an edit of the header can change. */
export async function headerBytes(tools: Tools, file: string): Promise<number> {
  const { stdout } = await tools.run('cryptsetup', ['luksDump', '--dump-json-metadata', file])
  const metadata = JSON.parse(stdout.toString()) as { segments?: { [id: string]: { offset?: string } } }
  const offset = Number(metadata.segments?.['0']?.offset)
  if (Number.isSafeInteger(offset) && offset > 0) return offset
  throw new FormatError(`cannot read the LUKS2 header of ${file}: segment 0 has no offset`, {
    code: 'bad-value',
    field: 'segments.0.offset',
    offset: 0,
  })
}

export interface HeaderEdit {
  /** Header of the image as it was built. */
  readonly header: string
  /** Opens it. */
  readonly buildKeyFile: string
  /** Size of the whole partition, in bytes. */
  readonly deviceBytes: number
  readonly enrol: Enrolment
  /** Private directory of the VM, for the new header and for key files that are removed again. */
  readonly directory: string
}

/** A new header with the keys of `enrol` and no others; returns its file, as long as `header`. */
export async function editHeader(tools: Tools, edit: HeaderEdit): Promise<string> {
  const { enrol, directory, buildKeyFile } = edit
  if (enrol.tpm2 === undefined && enrol.recoveryKey === undefined)
    throw new MaterialError('cannot enrol: neither a TPM nor a recovery key is given, one is required', {
      code: 'build-failed',
    })
  const header = join(directory, 'luks-header.img')
  await copyFile(edit.header, header)
  const { size } = await stat(header)
  await truncate(header, edit.deviceBytes)
  if (enrol.recoveryKey !== undefined)
    await enrolRecoveryKey(tools, { header, directory, buildKeyFile, recoveryKey: enrol.recoveryKey })
  if (enrol.tpm2) await enrolTpm(tools, { header, directory, buildKeyFile, tpm2: enrol.tpm2 })
  else await tools.run('cryptsetup', ['luksKillSlot', '--batch-mode', header, String(BUILD_SLOT)])
  await truncate(header, size)
  return header
}

async function enrolRecoveryKey(
  tools: Tools,
  edit: { header: string; directory: string; buildKeyFile: string; recoveryKey: string },
): Promise<void> {
  const keyFile = join(edit.directory, 'recovery-key.secret')
  await writeFile(keyFile, edit.recoveryKey, { mode: 0o600 })
  try {
    const slot = ['--key-slot', String(RECOVERY_SLOT), '--key-file', edit.buildKeyFile]
    await tools.run('cryptsetup', ['luksAddKey', '--batch-mode', ...CHEAP_KDF, ...slot, edit.header, keyFile])
  } finally {
    await rm(keyFile, { force: true })
  }
  // Makes systemd list the slot as what it is, and accept the key however it is typed.
  const token = JSON.stringify({ type: 'systemd-recovery', keyslots: [String(RECOVERY_SLOT)] })
  await tools.run('cryptsetup', ['token', 'import', '--json-file', '-', edit.header], { input: token })
}

/** Ends the build's own key with the same stroke. */
async function enrolTpm(
  tools: Tools,
  edit: { header: string; directory: string; buildKeyFile: string; tpm2: TpmEnrolment },
): Promise<void> {
  const { srkPublic, pcrPublicKey, literalPcrs = {} } = edit.tpm2
  const srk = join(edit.directory, 'srk.tpm2b-public')
  await writeFile(srk, srkPublic)
  const literal = Object.entries(literalPcrs).map(([index, value]) => `${index}:sha256=${value}`)
  await tools.run('systemd-cryptenroll', [
    `--unlock-key-file=${edit.buildKeyFile}`,
    `--wipe-slot=${BUILD_SLOT}`,
    `--tpm2-device-key=${srk}`,
    // Empty means none; leaving it out would mean PCR 7 as it is on this host.
    `--tpm2-pcrs=${literal.join('+')}`,
    ...(pcrPublicKey
      ? [`--tpm2-public-key=${pcrPublicKey}`, '--tpm2-public-key-pcrs=11']
      : ['--tpm2-public-key=']),
    edit.header,
  ])
}
