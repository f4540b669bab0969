/** The same tools with another QEMU: the host's own, or one that somebody has built. */
import { constants } from 'node:fs'
import { access, stat } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { HostError } from '../base/errors.ts'
import { sha256File } from './files.ts'
import { hostCommand } from './sandbox.ts'
import { gatedRun } from './tool-run.ts'
import type { OtherQemu, RunOptions, ToolCommand, ToolResult, Tools } from './tools.ts'

const PROGRAM = 'qemu-system-x86_64'

/**
 * `qemu`: `host` for the one in PATH, or the absolute path of a binary; it sees the host's own libraries and its own
 * data files. Throws HostError 'program-missing'.
 */
export async function withOtherQemu(
  tools: Tools,
  qemu: string,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Tools> {
  const file = qemu === 'host' ? await inPath(environment['PATH'] ?? '') : qemu
  if (file === undefined || !isAbsolute(file) || !(await isProgram(file)))
    throw new HostError(
      qemu === 'host' ? `there is no ${PROGRAM} in PATH` : `there is no program ${qemu} that may be run`,
      { code: 'program-missing' },
    )
  return new ToolsWithQemu(tools, { file, sha256: await sha256File(file) })
}

async function inPath(path: string): Promise<string | undefined> {
  for (const directory of path.split(':').filter((each) => isAbsolute(each))) {
    const file = join(directory, PROGRAM)
    if (await isProgram(file)) return file
  }
  return undefined
}

async function isProgram(file: string): Promise<boolean> {
  try {
    await access(file, constants.X_OK)
    return (await stat(file)).isFile()
  } catch {
    return false
  }
}

class ToolsWithQemu implements Tools {
  readonly qemu: OtherQemu
  readonly #tools: Tools

  constructor(tools: Tools, qemu: OtherQemu) {
    this.#tools = tools
    this.qemu = qemu
  }

  get kind(): Tools['kind'] {
    return this.#tools.kind
  }

  get root(): string {
    return this.#tools.root
  }

  /** That of the tools: what they make does not depend on which QEMU boots it. */
  get digest(): string {
    return this.#tools.digest
  }

  path(relative: string): string {
    return this.#tools.path(relative)
  }

  version(packageName: string): string | undefined {
    return this.#tools.version(packageName)
  }

  /** QEMU may stand behind a gate or `env`: it is the first word with its name. */
  command(program: string, args: readonly string[], options: RunOptions = {}): ToolCommand {
    const words = [program, ...args]
    const at = words.indexOf(PROGRAM)
    const usual = this.#tools.command(program, args, options)
    if (at < 0) return usual
    const [first = '', ...rest] = words.with(at, this.qemu.file)
    const request = { program: first, args: rest, cwd: options.cwd ?? process.cwd(), fakeRoot: false }
    return { ...hostCommand(undefined, process.getuid?.() === 0, request), environment: usual.environment }
  }

  run(program: string, args: readonly string[], options: RunOptions = {}): Promise<ToolResult> {
    return gatedRun(this, program, args, options)
  }
}
