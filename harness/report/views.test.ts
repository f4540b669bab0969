import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { Parser } from 'tap-parser'
import type { RunResult } from '../run/events.ts'
import { fileReporter, streamReporter } from './kinds.ts'
import { fanOut } from './reporter.ts'
import { claim, endEvents, HOSTILE, MIXED, result, startEvents } from './testing/fake-run.ts'
import { HOSTILE_LINES } from './testing/stored-run.ts'

/** Controls but the line feed. */
const CONTROLS = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e]/
const NASTY = `${HOSTILE}${HOSTILE_LINES.join('\n')}\ufffe\uffff\ud800]]>&amp;"'%0A::stop-commands::x\n::error::forged ##[stop-commands]x # SKIP`

const UNSTABLE: RunResult = {
  results: [
    ...MIXED.results,
    result({ outcome: 'fail', unstable: 'resets now and then', claims: [claim({ outcome: 'fail' })] }),
    result({
      outcome: 'error',
      reason: NASTY,
      claims: [claim({ claim: NASTY, outcome: 'fail', got: NASTY })],
    }),
    result({ claims: [], repetition: 3, attempts: 2 }),
  ],
  expired: [{ place: 'm.yaml:3:5', reason: NASTY, until: '2026-01-01', variants: 2 }],
}

function textOf(kind: 'tap' | 'junit' | 'github' | 'json', run: RunResult): string {
  const parts: string[] = []
  const view = streamReporter(kind, (text) => parts.push(text))
  for (const event of endEvents(run)) view.event(event)
  view.close?.()
  return parts.join('')
}

interface Point {
  readonly ok: boolean
  readonly name: string
  readonly todo: unknown
  readonly skip: unknown
}

t.test('TAP 14, as tap-parser reads it', async (t) => {
  const text = textOf('tap', UNSTABLE)
  const top: Point[] = []
  const inner: Point[] = []
  const parser = new Parser({ strict: true })
  parser.on('child', (child: Parser) => child.on('assert', (point: Point) => inner.push(point)))
  parser.on('assert', (point: Point) => top.push(point))
  const whole = Promise.withResolvers<{
    ok: boolean
    bailout: unknown
    failures: readonly { tapError?: unknown }[]
  }>()
  parser.on('complete', whole.resolve)
  parser.end(text)
  const { ok, bailout, failures } = await whole.promise
  t.same([ok, bailout], [false, false])
  t.same(
    failures.filter(({ tapError }) => tapError !== undefined && tapError !== null),
    [],
    'no word is out of place',
  )
  t.same(
    top.map((point) => [point.ok, Boolean(point.skip), Boolean(point.todo)]),
    [
      ...[
        [true, false, false],
        [false, false, false],
        [false, false, false],
        [true, true, false],
      ],
      ...[
        [false, false, true],
        [false, false, false],
        [true, false, false],
        [false, false, false],
      ],
    ],
  )
  t.equal(inner.length, UNSTABLE.results.flatMap(({ claims }) => claims).length)
  t.match(top[3]?.skip, /^hardware-required/)
  t.match(top[4]?.todo, /^unstable: resets now and then/)
  t.notMatch(text, CONTROLS)
  t.notMatch(text, /##\[/)
  t.test('of a run in which all is well is ok', async (t) => {
    const fine = new Parser({ strict: true })
    fine.end(textOf('tap', { results: [result(), result({ outcome: 'skip', reason: 'x: y' })] }))
    t.equal(fine.ok, true)
  })
})

t.test('JUnit', async (t) => {
  const xml = textOf('junit', UNSTABLE)
  t.test('has only what XML 1.0 allows, and nothing of a guest as markup', async (t) => {
    t.notMatch(xml, CONTROLS)
    t.notMatch(xml, /[\ud800-\udfff\ufffe\uffff]/)
    for (const tag of xml.match(/<[^>]*>/g) ?? [])
      t.match(tag, /^<\??\/?(xml|testsuites?|propert(y|ies)|testcase|failure|error|skipped)[ />]/)
    t.notMatch(xml, /&(?!(amp|lt|gt|quot);)/)
  })
  t.test('counts each claim once, as what became of it', async (t) => {
    const [all = ''] = xml.match(/<testsuites [^>]*>/) ?? []
    const count = (tag: string) => xml.match(new RegExp(`<${tag}[ />]`, 'g'))?.length ?? 0
    t.match(all, `tests="${count('testcase')}"`)
    t.match(all, `failures="${count('failure')}"`)
    t.match(all, `errors="${count('error')}"`)
    t.match(all, `skipped="${count('skipped')}"`)
    t.same([count('failure'), count('error'), count('skipped')], [2, 3, 3])
  })
  t.test('keeps what failed and is marked unstable from failing a build', async (t) => {
    t.match(
      xml,
      /<skipped message="unstable: resets now and then; failure: the claim is false">expected .*\ngot .*<\/skipped>/,
    )
  })
  t.test('of a run that broke, or never began, is in error, and so is all that had not ended', async (t) => {
    const parts: string[] = []
    const view = streamReporter('junit', (text) => parts.push(text))
    for (const event of startEvents(MIXED.results, '')) view.event(event)
    for (const event of endEvents(MIXED).slice(0, 2)) view.event(event)
    view.close?.()
    const [text = ''] = parts
    t.equal(text.match(/<testsuite /g)?.length, MIXED.results.length + 1)
    t.match(text, / errors="3"/)
    t.equal(text.match(/<error message="interrupted: the run broke before this ended"/g)?.length, 2)
    for (const run of [undefined, { results: [] }]) {
      const said: string[] = []
      const empty = streamReporter('junit', (text) => said.push(text))
      if (run) for (const event of endEvents(run)) empty.event(event)
      empty.close?.()
      t.match(said.join(''), /^.*\n<testsuites name="attestbed" tests="1" failures="0" errors="1"/)
    }
    t.match(textOf('junit', { results: [], otherShards: 3 }), / tests="0" /, 'an empty shard is none')
  })
})

t.test('GitHub annotations', async (t) => {
  const text = textOf('github', UNSTABLE)
  const lines = text.trimEnd().split('\n')
  t.test('are commands of ours alone, one a line', async (t) => {
    for (const line of lines) t.match(line, /^::(error|warning|notice) (file|title)=[^:]*::/)
    t.equal(lines.length, 6)
    t.notMatch(text, CONTROLS)
    t.notMatch(text, /##\[/, 'which is a command wherever it stands')
    t.notMatch(text, /%(?!25|0A|3A|2C)/)
  })
  t.test('point to the scenario, and to the place of a mark that is out of date', async (t) => {
    t.match(lines[0], /^::error file=scenarios\/encrypted-root\/sealed-by-guest\.ts,line=1,title=/)
    t.match(lines.at(-1), /^::error file=m\.yaml,line=3,col=5,title=/)
  })
  t.test('tell what broke beside a claim that is false', async (t) => {
    const broke = result({
      outcome: 'error',
      reason: 'swtpm-died: it is gone',
      claims: [claim({ outcome: 'fail' })],
    })
    const said = textOf('github', { results: [broke] })
      .trim()
      .split('\n')
    t.match(said, [/::false: /, /::error: swtpm-died: it is gone$/])
    t.equal(said.length, 2)
  })
  t.test('warn of what is marked unstable', async (t) => {
    t.match(lines[2], /^::warning .*marked unstable: resets now and then$/)
  })
})

t.test('JSON is the result, and nothing in it drives a terminal', async (t) => {
  const text = textOf('json', MIXED)
  t.same(JSON.parse(text), MIXED)
  t.notMatch(text, CONTROLS)
  t.notMatch(text, /##\[/)
})

t.test('a report in a file', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'attestbed-views-'))
  t.teardown(() => rmSync(directory, { recursive: true }))
  const run = (file: string): readonly string[] => {
    const broken: string[] = []
    const { sink, close } = fanOut([fileReporter('junit', file)], (name, error) => {
      broken.push(`${name}: ${error instanceof Error ? error.message : error}`)
    })
    for (const event of endEvents(MIXED)) sink(event)
    close()
    return broken
  }
  t.test('takes the place of an older one as a whole, for its owner alone', async (t) => {
    const file = join(directory, 'junit.xml')
    writeFileSync(file, 'old', { mode: 0o644 })
    t.same(run(file), [])
    t.match(readFileSync(file, 'utf8'), /^<\?xml[\s\S]*<\/testsuites>\n$/)
    t.equal(statSync(file).mode & 0o777, 0o644, 'who might read the old one')
    t.same(run(join(directory, 'new.xml')), [])
    t.equal(statSync(join(directory, 'new.xml')).mode & 0o777, 0o600)
  })
  t.test('that cannot be made leaves none of an earlier run', async (t) => {
    const file = join(directory, 'stale.xml')
    writeFileSync(file, 'old')
    const broken = fileReporter('junit', file)
    t.throws(() => broken.event({ type: 'run-started' } as never), 'a view that breaks')
    t.notOk(existsSync(file))
  })
  t.test('on a full disk, or where there is no such directory, is named, and nothing is left', async (t) => {
    t.match(run('/dev/full'), [/^JUnit report \/dev\/full: ENOSPC/])
    t.match(run(join(directory, 'absent/junit.xml')), [/ENOENT/])
    t.same(readdirSync(directory).sort(), ['junit.xml', 'new.xml'])
  })
})
