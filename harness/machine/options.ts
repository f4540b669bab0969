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

export function portNumber(what: string, value: number): number {
  if (Number.isSafeInteger(value) && value > 0 && value <= 65_535) return value
  throw badArgument(what, String(value), 'a port from 1 to 65535')
}

/** Last parts of 10.0.2.0/24 that QEMU's user networking has uses of its own for. */
const TAKEN: ReadonlySet<number> = new Set([0, 2, 3, 15, 255])

/** An address of QEMU's user network that is free. */
export function guestAddress(what: string, address: string): string {
  const [, last] = /^10\.0\.2\.([1-9]\d{0,2}|0)$/.exec(address) ?? []
  if (last !== undefined && Number(last) < 256 && !TAKEN.has(Number(last))) return address
  throw badArgument(what, address, 'a free address of 10.0.2.0/24')
}

function badArgument(what: string, current: string, required: string): LaunchError {
  return new LaunchError(
    `cannot make the QEMU command line: ${what} is ${JSON.stringify(current)}, it must be ${required}`,
    {
      code: 'qemu-start',
    },
  )
}
