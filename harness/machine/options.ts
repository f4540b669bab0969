import { LaunchError } from '../base/errors.ts'

/** `sun_path` is 108 bytes and ends with a NUL. */
export const SOCKET_PATH_BYTES = 107

const NAME = /^[A-Za-z0-9][A-Za-z0-9-]*$/
const ID = /^[A-Za-z][A-Za-z0-9-]*$/

/**
 * One QEMU option: `socket,id=serial0,path=/a,,b`. A comma ends a value, so a comma within one is doubled; no other
 * character is special to QEMU. Properties that are undefined are left out.
 */
export function option(
  head: string,
  properties: Readonly<Record<string, string | number | boolean | undefined>> = {},
): string {
  const parts = Object.entries(properties).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}=${optionValue(name, value)}`],
  )
  return [...(head === '' ? [] : [head]), ...parts].join(',')
}

function optionValue(name: string, value: string | number | boolean): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off'
  return plainText(`option ${name}`, String(value)).replaceAll(',', ',,')
}

/** An argument that the kernel can hand over at all. Throws LaunchError `qemu-start` for a NUL. */
export function plainText(what: string, value: string): string {
  if (value.includes('\0')) throw badArgument(what, value, 'text without a NUL')
  return value
}

/** A file's absolute path: QEMU runs in a sandbox that need not share our working directory. */
export function filePath(what: string, path: string): string {
  if (!path.startsWith('/')) throw badArgument(what, path, 'an absolute path')
  return plainText(what, path)
}

/** A path that fits a unix socket's address. Throws LaunchError `socket-path-too-long`. */
export function socketPath(what: string, path: string): string {
  const length = Buffer.byteLength(filePath(what, path))
  if (length <= SOCKET_PATH_BYTES) return path
  throw new LaunchError(
    `cannot use ${JSON.stringify(path)} for ${what}: it is ${length} bytes long, at most ${SOCKET_PATH_BYTES} fit a unix socket`,
    {
      code: 'socket-path-too-long',
      hint: 'Point XDG_RUNTIME_DIR or TMPDIR at a directory with a shorter path',
    },
  )
}

export function machineName(name: string): string {
  if (!NAME.test(name)) throw badArgument('the name of the VM', name, 'letters, digits and "-"')
  return name
}

/** An id that QEMU accepts (`id_wellformed`), less the `.` and `_` that node names and sizes would quarrel over. */
export function identifier(what: string, id: string): string {
  if (!ID.test(id)) throw badArgument(what, id, 'a letter, then letters, digits and "-"')
  return id
}

/** A whole number of at least `minimum`. */
export function wholeNumber(what: string, value: number, minimum: number): number {
  if (!Number.isSafeInteger(value) || value < minimum)
    throw badArgument(what, String(value), `a whole number of at least ${minimum}`)
  return value
}

function badArgument(what: string, current: string, required: string): LaunchError {
  return new LaunchError(
    `cannot make the QEMU command line: ${what} is ${JSON.stringify(current)}, it must be ${required}`,
    {
      code: 'qemu-start',
    },
  )
}
