/** Where words and documents go. */
import type { Writable } from 'node:stream'

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
