/**
 * A vTPM's state: the directory that swtpm keeps a TPM's seeds, keys and NV indices in.
 *
 * A copied state holds the same seeds, so both are the same TPM: what is sealed to one opens with the other. Copy
 * it to keep a moment of one VM (a backup, a rollback); make a new state for every other VM.
 */
import { randomBytes } from 'node:crypto'
import { chmod, copyFile, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { MaterialError } from '../../base/errors.ts'
import type { Tools } from '../../system/tools.ts'
import { swtpmPath } from './paths.ts'

/** Where swtpm keeps what survives its end. */
export const PERMANENT_STATE = 'tpm2-00.permall'
/** swtpm holds a POSIX lock on this file while it runs. */
const LOCK = '.lock'

export type PcrBank = 'sha1' | 'sha256' | 'sha384' | 'sha512'

export interface VtpmStateOptions {
  /** The active PCR banks; default sha256 alone: every bank costs the guest time at every extend. */
  readonly banks?: readonly PcrBank[]
}

/**
 * Makes the state of a new TPM with seeds of its own in `directory` (0700), which must not exist or be empty; about
 * 0.1 s. A stateful VM gets one for its life, a stateless one at every boot. No endorsement key certificate is made.
 * Throws MaterialError `in-use`, `build-failed`.
 */
export async function createVtpmState(
  tools: Tools,
  directory: string,
  options: VtpmStateOptions = {},
): Promise<void> {
  const target = swtpmPath('the vTPM state directory', directory)
  const banks = (options.banks ?? ['sha256']).join(',')
  await wholeOrNotAtAll(target, async (partial) => {
    await tools.run('swtpm_setup', ['--tpm2', '--tpmstate', partial, '--pcr-banks', banks])
  })
}

/**
 * Copies a state, whole or not at all, to `target`, which must not exist or be empty. The copy is the *same* TPM (see above).
 * Throws MaterialError `in-use` while an swtpm runs on the source (a copy could be of two moments), `missing`.
 */
export async function copyVtpmState(source: string, target: string): Promise<void> {
  await refuseRunning(source, 'copy')
  if (!(await hasState(source)))
    throw new MaterialError(`cannot copy the vTPM state in ${source}: there is no ${PERMANENT_STATE}`, {
      code: 'missing',
    })
  await wholeOrNotAtAll(target, async (partial) => {
    for (const name of await readdir(source))
      if (name !== LOCK) await copyFile(join(source, name), join(partial, name))
  })
}

/** A state that is made in part only would be a TPM all the same, and the wrong one. */
async function wholeOrNotAtAll(target: string, make: (partial: string) => Promise<void>): Promise<void> {
  if (!(await isAbsentOrEmpty(target))) throw inUse(`cannot make the vTPM state ${target}: it already exists`)
  const partial = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString('hex')}`)
  try {
    await mkdir(partial, { recursive: true, mode: 0o700 })
    await make(partial)
    // The seeds of every key: swtpm_setup leaves them readable to the group.
    for (const name of await readdir(partial)) await chmod(join(partial, name), 0o600)
    await rename(partial, target)
  } finally {
    await rm(partial, { recursive: true, force: true })
  }
}

async function isAbsentOrEmpty(directory: string): Promise<boolean> {
  return readdir(directory).then(
    (names) => names.length === 0,
    () => true,
  )
}

/** Throws MaterialError `in-use` while an swtpm, of this harness or another, runs on the state. */
export async function refuseRunning(directory: string, action: string): Promise<void> {
  if (await isVtpmStateLocked(directory))
    throw inUse(`cannot ${action} the vTPM state in ${directory}: an swtpm runs on it`)
}

/** Whether an swtpm holds the state; seen in the kernel's table of locks, since Node cannot ask for one. */
export async function isVtpmStateLocked(directory: string): Promise<boolean> {
  const inode = await stat(join(directory, LOCK)).then(
    (found) => found.ino,
    () => undefined,
  )
  if (inode === undefined) return false
  const locks = await readFile('/proc/locks', 'utf8')
  // `1: POSIX  ADVISORY  WRITE 2716 08:01:131202 0 EOF`. The device differs from stat's on some file systems, so
  // the inode decides; the price is a refusal in the rare case of another file with the same number.
  return locks.split('\n').some((line) => line.includes(' POSIX ') && line.includes(`:${inode} `))
}

function inUse(message: string): MaterialError {
  return new MaterialError(message, { code: 'in-use' })
}

export function hasState(directory: string): Promise<boolean> {
  return exists(join(directory, PERMANENT_STATE))
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
