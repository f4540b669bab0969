/** Reads the data that lies in the page: base64 of deflated JSON in elements that no browser runs. */
import type { ReportIndex, RunDetail, RunRow } from '../data.ts'

export async function readIndex(): Promise<ReportIndex> {
  return (await readBlock('index')) as ReportIndex
}

/** The last blocks that were read: who steps from run to run stays near. */
const KEPT = 12
const kept = new Map<number, Promise<readonly RunDetail[]>>()

export function readDetails(block: number): Promise<readonly RunDetail[]> {
  const known = kept.get(block)
  const details = known ?? (readBlock(`block-${block}`) as Promise<readonly RunDetail[]>)
  kept.delete(block)
  kept.set(block, details)
  for (const oldest of kept.keys()) {
    if (kept.size <= KEPT) break
    kept.delete(oldest)
  }
  return details
}

export async function readDetail({ place: [block, index] }: RunRow): Promise<RunDetail> {
  const detail = (await readDetails(block))[index]
  if (!detail) throw new Error(`the report has no details ${index} in its block ${block}`)
  return detail
}

async function readBlock(id: string): Promise<unknown> {
  const text = document.getElementById(id)?.textContent ?? ''
  if (text === '') throw new Error(`the report is not whole: its block ${id} is missing`)
  const inflated = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream('deflate-raw'))
  return new Response(inflated).json()
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  if ('fromBase64' in Uint8Array) return (Uint8Array as unknown as FromBase64).fromBase64(base64)
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))
}

/** Newer than the library of types. */
interface FromBase64 {
  fromBase64(text: string): Uint8Array<ArrayBuffer>
}
