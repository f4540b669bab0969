/** What must not outlast the process, however it ends but by SIGKILL: what a scope removes when it is given the time. */
import { rmSync } from 'node:fs'

const paths = new Set<string>()

/** Removes a file or a directory when the process exits; whoever removes it before disposes of the promise. */
export function removeAtExit(path: string): Disposable {
  if (paths.size === 0) process.on('exit', removeAll)
  paths.add(path)
  return {
    [Symbol.dispose]: () => {
      paths.delete(path)
      if (paths.size === 0) process.off('exit', removeAll)
    },
  }
}

function removeAll(): void {
  for (const path of paths) {
    try {
      rmSync(path, { recursive: true, force: true })
    } catch {
      // The others are still worth a try, and nobody is left to be told.
    }
  }
}
