import { connect } from 'node:net'
import { fileURLToPath } from 'node:url'
import { attach } from './attach.ts'
import { Console } from './engine.ts'
import { runOnPty } from './pty-front.ts'

/** A program for attach.test.ts: `front SOCKET` puts `attach SOCKET` on a pseudo terminal of its own. */

const [mode, socket = ''] = process.argv.slice(2)
const terminal = { input: process.stdin, output: process.stdout }

if (mode === 'front') {
  const args = [...process.execArgv, fileURLToPath(import.meta.url), 'attach', socket]
  const exitCode = await runOnPty({ file: process.execPath, args }, terminal)
  process.stdout.write(`front over: ${exitCode} raw: ${process.stdin.isRaw}\n`)
  process.exit(exitCode)
} else {
  const console = new Console(connect(socket), { name: 'lab' })
  process.stdout.write(`attach pid ${process.pid}\n`)
  const how = await attach(console, { ...terminal, shellPrompt: /[#$] $/ })
  process.stdout.write(`attach over: ${how} raw: ${process.stdin.isRaw}\n`)
  await console.close()
  process.exit(how === 'left' ? 0 : 3)
}
