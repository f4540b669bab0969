/** A run directory as a failed scenario leaves it, and bundles that nobody honest makes; for tests. */
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { zstdCompressSync } from 'node:zlib'
import { Header } from 'tar'
import { sha256Hex } from '../../base/digest.ts'
import type { ScenarioResult } from '../../run/events.ts'
import type { FoundPoint } from '../find-run.ts'
import { BUNDLE_KIND, BUNDLE_VERSION, type BundleMember } from '../manifest.ts'
import { signatureOf } from '../signature.ts'

export const NAMES = { home: '/home/alice', host: 'build7', user: 'alice' }

export const RESULT: ScenarioResult = {
  scenario: 'boot/first-command',
  variant: {
    ...{ platform: 'tcg', vtpm: 'stateful', firmware: 'ovmf-secboot', image: 'micro' },
    ...{ qemu: 'tools', vcpus: 1, memoryMiB: 512 },
  },
  outcome: 'fail',
  reason: 'claim "answers" is false: a command runs',
  seconds: 12.5,
  claims: [
    {
      ...{ id: 'answers', claim: 'a command runs', basis: 'emulated', outcome: 'fail' },
      ...{ expected: '{"exitCode":7}', got: '{"exitCode":8}' },
    },
  ],
  ...{ dir: '', attempts: 1 },
}

export interface FakePoint {
  /** Above the run's directory. */
  readonly runs: string
  readonly found: FoundPoint
}

/** `extra`: more files, by their path in the scenario's directory. */
export async function fakePoint(
  extra: Readonly<Record<string, string | Uint8Array>> = {},
  result: ScenarioResult = RESULT,
): Promise<FakePoint> {
  const runs = await mkdtemp(join(tmpdir(), 'attestbed-test-'))
  const run = join(runs, '20261122T040000Z-0001')
  const point = join(run, 'boot.first-command-tcg')
  const firmware = join(runs, 'firmware.fd')
  await mkdir(point, { recursive: true })
  await writeFile(firmware, 'firmware of this test')
  const bill = {
    tools: { kind: 'tree', digest: '1'.repeat(64) },
    materials: [
      {
        ...{ role: 'firmware', path: firmware, bytes: 21, modified: '2026-11-22T04:00:00.000Z' },
        sha256: sha256Hex(Buffer.from('firmware of this test')),
      },
      {
        ...{
          role: 'disk',
          path: '/cache/disk/base.raw',
          bytes: 2 ** 30,
          modified: '2026-11-22T04:00:00.000Z',
        },
        sha256: '2'.repeat(64),
      },
    ],
    packages: [],
  }
  const files: Readonly<Record<string, string | Uint8Array>> = {
    'result.json': JSON.stringify(result),
    'events.jsonl': `${JSON.stringify({ type: 'scenario-started', title: 'a title' })}\n`,
    'guest/boot-1/console.raw': 'booting\r\nlast line\r\n',
    'guest/boot-1/bill.json': JSON.stringify(bill),
    'guest/variables.fd': Buffer.alloc(4096, 0xff),
    ...extra,
  }
  for (const [path, content] of Object.entries(files)) {
    await mkdir(join(point, path, '..'), { recursive: true })
    await writeFile(join(point, path), content)
  }
  return { runs, found: { run, point, result } }
}

export interface FakeEntry {
  readonly path: string
  readonly content?: Uint8Array
  /** `File` by default; the header is written by the `tar` package. */
  readonly type?: 'File' | 'Link' | 'SymbolicLink' | 'Directory' | 'CharacterDevice' | 'ExtendedHeader'
  readonly linkpath?: string
  /** In place of the content's own. */
  readonly size?: number
}

/** An archive with these entries, whatever they are; `end`: with the blocks that end one. */
export function tarOf(entries: readonly FakeEntry[], { end = true } = {}): Buffer {
  const blocks = entries.flatMap(({ path, content = Buffer.alloc(0), type = 'File', linkpath, size }) => {
    const header = new Header({
      ...{ path, type, mode: 0o600, size: size ?? content.length, mtime: new Date(0) },
      ...(linkpath !== undefined && { linkpath }),
    })
    const block = Buffer.alloc(512)
    header.encode(block)
    return [block, Buffer.from(content), Buffer.alloc((512 - (content.length % 512)) % 512)]
  })
  return Buffer.concat([...blocks, ...(end ? [Buffer.alloc(1024)] : [])])
}

export function memberOf(path: string, content: Uint8Array): BundleMember {
  return { path, bytes: content.length, sha256: sha256Hex(content) }
}

/** A manifest that is right but for `changes`. */
export function manifestOf(members: readonly BundleMember[], changes: object = {}): Buffer {
  const { variant, scenario } = RESULT
  const manifest = {
    ...{ kind: BUNDLE_KIND, version: BUNDLE_VERSION, madeBy: '0.1.0', made: '2026-11-22T04:00:00.000Z' },
    scenario: { id: scenario, title: 'a title' },
    ...{ variant, argv: [], claims: [], materials: [], members, leftOut: [], scrubbed: [], included: [] },
    signature: signatureOf(RESULT, ''),
    ...changes,
  }
  return Buffer.from(JSON.stringify(manifest))
}

/** As bytes of a file: the manifest of the entries, then the entries. */
export function bundleOf(entries: readonly FakeEntry[], changes: object = {}): Buffer {
  const members = entries.map(({ path, content = Buffer.alloc(0) }) => memberOf(path, content))
  return packed(tarOf([{ path: 'manifest.json', content: manifestOf(members, changes) }, ...entries]))
}

export function packed(archive: Uint8Array): Buffer {
  return zstdCompressSync(archive)
}
