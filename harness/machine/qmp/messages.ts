import { LaunchError } from '../../base/errors.ts'

export type QmpObject = Readonly<Record<string, unknown>>

/** What QEMU sends: its greeting, the answer to a command, an event. */
export type QmpMessage =
  | { readonly kind: 'greeting'; readonly version: string }
  | { readonly kind: 'return'; readonly id: unknown; readonly value: unknown }
  | {
      readonly kind: 'error'
      readonly id: unknown
      readonly errorClass: string
      readonly description: string
    }
  | { readonly kind: 'event'; readonly name: string; readonly data: QmpObject; readonly timestamp: number }

/** Throws LaunchError `qmp-protocol` for what is not a QMP message. */
export function parseQmpMessage(line: string): QmpMessage {
  const message = parseObject(line)
  if ('QMP' in message) return { kind: 'greeting', version: versionOf(message['QMP']) }
  if ('return' in message) return { kind: 'return', id: message['id'], value: message['return'] }
  if (isObject(message['error'])) return errorOf(message['error'], message['id'])
  if (typeof message['event'] === 'string') return eventOf(message, message['event'])
  throw notQmp(line)
}

function parseObject(line: string): QmpObject {
  try {
    const value: unknown = JSON.parse(line)
    if (isObject(value)) return value
  } catch (cause) {
    throw notQmp(line, cause)
  }
  throw notQmp(line)
}

function errorOf(error: QmpObject, id: unknown): QmpMessage {
  return { kind: 'error', id, errorClass: String(error['class']), description: String(error['desc']) }
}

function eventOf(message: QmpObject, name: string): QmpMessage {
  const data = isObject(message['data']) ? message['data'] : {}
  const { seconds, microseconds } = isObject(message['timestamp']) ? message['timestamp'] : {}
  const timestamp = Number(seconds ?? 0) * 1000 + Number(microseconds ?? 0) / 1000
  return { kind: 'event', name, data, timestamp }
}

/** `11.1.2` of the greeting's nested numbers. */
function versionOf(greeting: unknown): string {
  const version =
    isObject(greeting) && isObject(greeting['version']) ? greeting['version']['qemu'] : undefined
  if (!isObject(version)) return 'unknown'
  return [version['major'], version['minor'], version['micro']].join('.')
}

export function isObject(value: unknown): value is QmpObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function notQmp(line: string, cause?: unknown): LaunchError {
  const shown = line.length > 80 ? `${line.slice(0, 80)}...` : line
  return new LaunchError(
    `cannot read QMP: ${JSON.stringify(shown)} is not a greeting, an answer or an event`,
    {
      code: 'qmp-protocol',
      cause,
    },
  )
}
