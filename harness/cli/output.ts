/** Where words and documents go. */
import type { Writable } from 'node:stream'
import { jsonText } from '../base/text.ts'
import type { MeasuredDocument, MeasuredEvent } from '../measure/documents/document.ts'
import { withoutCommands } from '../report/github.ts'

/**
 * A reader that has gone away (`attestbed list | head`) is no reason to crash: what is written afterwards is
 * dropped, and the command ends with its own exit code.
 */
export function ignoreClosedPipes(streams: readonly Writable[] = [process.stdout, process.stderr]): void {
  for (const stream of streams)
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE' && error.code !== 'EIO') throw error
    })
}

/**
 * Where the words for people go, in whole lines. In a log of GitHub Actions, and where `github` says that it will be one,
 * nothing that a guest said is a command there.
 */
export function forPeople(
  output: NodeJS.WriteStream,
  { github = process.env['GITHUB_ACTIONS'] === 'true' }: { readonly github?: boolean } = {},
): NodeJS.WriteStream {
  if (!github) return output
  const write = (text: string): boolean => output.write(withoutCommands(text))
  // What a terminal says of itself is still asked of the stream.
  return Object.create(output, { write: { value: write } })
}

/** The one document of a command run with `--json`. */
export function writeDocument(document: object): void {
  process.stdout.write(`${jsonText(document, 2)}\n`)
}

/** Width of the output in cells; 80 where it is no terminal. */
export function widthOf(output: { readonly columns?: number | undefined }): number {
  return output.columns || 80
}

/** A prediction: as a document, or its digests in words, one a line. */
export function writePrediction(
  document: MeasuredDocument,
  { json = false }: { readonly json?: boolean },
): void {
  if (json) writeDocument(document)
  else
    process.stdout.write(
      namedValues(document)
        .map(([name, value]) => `${name} ${value}\n`)
        .join(''),
    )
}

/** What a document comes to, without what it comes from. */
function namedValues({ pages, events, inputs, kind, platform, packages, ...values }: MeasuredDocument) {
  const { rtmr = [], pcrs = {}, ...digests } = values
  return [
    ...Object.entries(digests),
    ...rtmr.map((value, index) => [`rtmr${index}`, value] as const),
    ...Object.entries(pcrs).flatMap(([bank, registers]) =>
      Object.entries(registers).map(([number, value]) => [`pcr${number} ${bank}`, value] as const),
    ),
  ]
}

/** An event below its register on a page: the start of its digest, its type, what it is. */
export function eventLine({ type, description, digests }: MeasuredEvent, bank: string): string {
  const digest = digests[bank]?.slice(0, 16) ?? 'not known'
  return `      ${digest.padEnd(16)} ${type.padEnd(34)} ${description.split(': not known, ')[0]}`
}
