import { BrokerRefusal } from '../refusal.ts'

/** Standard base64 with its padding, nothing else: one text for the same bytes. Throws `malformed-request`. */
export function base64Of(text: string, field: string): Buffer {
  const bytes = Buffer.from(text, 'base64')
  if (text !== '' && bytes.toString('base64') === text) return bytes
  throw new BrokerRefusal('malformed-request', `${field} is not base64`)
}
