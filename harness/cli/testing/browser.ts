/** A real browser for tests of the HTML report, without a network. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Browser, chromium } from 'playwright-core'
import { shellCommand } from '../../machine/shell-command.ts'
import { browserCommand } from '../../system/setup/browser-tree.ts'

/** Why there is none; false where there is one. For the `skip` of a test. */
export const NO_BROWSER: string | false =
  browserCommand() === undefined && 'there is no Chromium: scripts/setup --with=browser brings one'

/** No name resolves, and nothing outside of this machine is reached; root may not sandbox itself. */
const ARGUMENTS = [
  '--no-sandbox',
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
  '--proxy-server=127.0.0.1:9',
  '--proxy-bypass-list=127.0.0.1',
]

export interface OpenBrowser extends AsyncDisposable {
  readonly browser: Browser
}

/** Throws where there is none: look at NO_BROWSER before. */
export async function openBrowser(): Promise<OpenBrowser> {
  const command = browserCommand()
  if (!command) throw new Error(String(NO_BROWSER))
  const directory = mkdtempSync(join(tmpdir(), 'attestbed-browser-'))
  const starter = join(directory, 'browser')
  // Playwright starts one file: what runs the tree's programs has arguments of its own before.
  writeFileSync(starter, `#!/bin/sh\nexec ${shellCommand([command.file, ...command.args])} "$@"\n`)
  chmodSync(starter, 0o700)
  const browser = await chromium.launch({ executablePath: starter, args: ARGUMENTS })
  return {
    browser,
    [Symbol.asyncDispose]: async () => {
      await browser.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
