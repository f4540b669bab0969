/** Where words and documents go. */
import type { Writable } from 'node:stream'
import type { MeasuredDocument } from '../measure/documents/document.ts'

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

/** The one document of a command run with `--json`. */
export function writeDocument(document: object): void {
  process.stdout.write(`${JSON.stringify(document, null, 2)}\n`)
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
