/** `--tools=host`: the host's own programs, each checked before anything relies on it. */

import { execa } from 'execa'
import { HostError } from '../../base/errors.ts'
import { findHostProgram, hostEnvironment } from '../apt/host-program.ts'
import { readRelease } from '../apt/mirror.ts'
import type { ToolsChoice } from '../tools.ts'
import type { InstalledPackage } from '../tools-manifest.ts'
import { isAtLeast, parseVersion, TOOL_PROGRAMS, type ToolProgram } from './tool-programs.ts'

export interface HostToolsOptions {
  /** Looked up here and in the system directories; default: process.env. */
  readonly environment?: NodeJS.ProcessEnv
  readonly programs?: readonly ToolProgram[]
}

interface Finding {
  readonly tool: ToolProgram
  readonly version: string | undefined
  /** Why it will not do; undefined if it will. */
  readonly problem: string | undefined
}

/** Throws one HostError that names every program that is missing ('program-missing') or too old ('program-too-old'). */
export async function checkHostTools(options: HostToolsOptions = {}): Promise<ToolsChoice> {
  const environment = options.environment ?? process.env
  const findings = await Promise.all(
    (options.programs ?? TOOL_PROGRAMS).map((tool) => examine(tool, environment)),
  )
  const bad = findings.filter((finding) => finding.problem !== undefined)
  const bubblewrap = findHostProgram('bwrap', environment)
  const supervisor = supervisorProblem(bubblewrap, environment)
  const problems = [...bad.map(({ problem }) => problem), ...(supervisor ? [supervisor] : [])]
  if (problems.length > 0) throw unusable(problems.join('; '), bad)
  const packages = findings.map(({ tool, version }): InstalledPackage => {
    return { name: tool.debian, version: version ?? 'unknown', architecture: 'amd64', sha256: '' }
  })
  const manifest = { suite: 'host', date: new Date().toISOString(), packages }
  return { kind: 'host', host: { manifest, ...(bubblewrap ? { bubblewrap } : {}) } }
}

async function examine(tool: ToolProgram, environment: NodeJS.ProcessEnv): Promise<Finding> {
  const path = tool.program.startsWith('/')
    ? findHostProgram(tool.program.slice(1), { PATH: '/' })
    : findHostProgram(tool.program, environment)
  const needed = tool.minimum ? `, ${tool.minimum} or newer is needed` : ''
  if (!path) return { tool, version: undefined, problem: `${tool.program} is missing${needed}` }
  const result = await execa(path, tool.versionArgs, {
    env: hostEnvironment(),
    extendEnv: false,
    reject: false,
    all: true,
    stdin: 'ignore',
    timeout: 20_000,
  })
  const version = tool.versionArgs.includes('--help') ? undefined : parseVersion(result.all)
  if (result.failed) return { tool, version, problem: `${tool.program} does not run (${path})` }
  const old = tool.minimum !== undefined && (version === undefined || !isAtLeast(version, tool.minimum))
  return {
    tool,
    version,
    problem: old ? `${tool.program} is ${version ?? 'of unknown version'}${needed}` : undefined,
  }
}

/** Without bwrap, util-linux can make the PID namespace in which everything dies with the harness. */
function supervisorProblem(
  bubblewrap: string | undefined,
  environment: NodeJS.ProcessEnv,
): string | undefined {
  const missing = ['setpriv', 'unshare'].filter((name) => !findHostProgram(name, environment))
  if (bubblewrap !== undefined || missing.length === 0) return undefined
  return `bwrap is missing, and so is ${missing.join(' and ')} that could stand in for it`
}

function unusable(problems: string, findings: readonly Finding[]): HostError {
  const tooOld = findings.length > 0 && findings.every(({ problem }) => !problem?.includes('missing'))
  const fedora = readRelease().id !== 'debian' && findHostProgram('dnf') !== undefined
  const names = [
    ...new Set(findings.map(({ tool }) => (fedora ? (tool.fedora ?? tool.debian) : tool.debian))),
  ]
  const install = fedora
    ? 'dnf install'
    : findHostProgram('apt-get')
      ? 'apt-get install'
      : 'install the packages'
  return new HostError(`this host's own programs will not do: ${problems}`, {
    code: tooOld ? 'program-too-old' : 'program-missing',
    hint: `As root: ${install} ${(names.length > 0 ? names : ['bubblewrap']).join(' ')}; or use scripts/setup --tools=tree`,
  })
}
