/** The HTML report in a real browser: what is seen, what a keyboard reaches, and that nothing of a guest runs or loads. */
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import t from 'tap'
import { junitXml } from '../report/junit.ts'
import { claim, MIXED, result, VARIANT } from '../report/testing/fake-run.ts'
import { bootLines, HOSTILE_LINES, manyResults, storeRun } from '../report/testing/stored-run.ts'
import type { RunEvent } from '../run/events.ts'
import { EXAMPLES, SAID_BY_GUEST } from '../run/testing/event-examples.ts'
import { report } from './report.ts'
import { NO_BROWSER, openBrowser } from './testing/browser.ts'

// A browser on a busy machine.
t.setTimeout(180_000)
const skip = NO_BROWSER
const directory = mkdtempSync(join(tmpdir(), 'attestbed-page-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))
const opened = skip ? undefined : await openBrowser()
t.teardown(() => opened?.[Symbol.asyncDispose]())
// After the browser, which set-up may have put into the cache of this host.
process.env['ATTESTBED_CACHE'] ??= join(directory, 'cache')

interface Opened {
  readonly page: Page
  /** Requests besides the file's own, errors, dialogs, titles set by others: all that should not be. */
  readonly wrongs: string[]
}

async function open(file: string, colorScheme: 'light' | 'dark' = 'light'): Promise<Opened> {
  if (!opened) throw new Error('there is no browser')
  const page = await opened.browser.newPage({ viewport: { width: 1366, height: 768 }, colorScheme })
  const wrongs: string[] = []
  page.on(
    'request',
    (request) => request.url() === `file://${file}` || wrongs.push(`request ${request.url()}`),
  )
  page.on('pageerror', (error) => wrongs.push(`error ${error.message}`))
  page.on('console', (message) => wrongs.push(`console ${message.text()}`))
  page.on('dialog', (dialog) => {
    wrongs.push(`dialog ${dialog.message()}`)
    void dialog.dismiss()
  })
  await page.goto(`file://${file}`)
  await page.waitForSelector('html[data-ready]')
  return { page, wrongs }
}

async function reportOf(
  name: string,
  options: Parameters<typeof storeRun>[1],
  compare?: string,
): Promise<string> {
  const run = join(directory, name)
  mkdirSync(run)
  storeRun(run, options)
  const file = join(directory, `${name}.html`)
  await report([run], { format: 'html', output: file, ...(compare !== undefined && { compare }) })
  return file
}

interface CountingServer extends AsyncDisposable {
  readonly address: string
  readonly asked: readonly (string | undefined)[]
}

async function countingServer(): Promise<CountingServer> {
  const asked: (string | undefined)[] = []
  const server = createServer((request, response) => {
    asked.push(request.url)
    response.end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    ...{ address: `http://127.0.0.1:${port}/`, asked },
    [Symbol.asyncDispose]: async () => void server.close(),
  }
}

const nasty = HOSTILE_LINES.join('\n')
/** Everything that a guest, a path or a scenario can put into a report. */
const hostileResults = [
  result({
    ...{
      scenario: '<img src=x onerror=alert(1)>/</script><script>alert(1)</script>',
      outcome: 'fail',
      reason: nasty,
    },
    ...{ hint: nasty, dir: 'one', unstable: nasty },
    claims: [claim({ id: '__proto__', claim: nasty, outcome: 'fail', expected: nasty, got: nasty }), claim()],
    broken: [{ reason: nasty, seconds: 1, dir: nasty, claims: [] }],
    variant: { ...VARIANT, qemu: '"><script>alert(1)</script>', image: 'javascript:alert(1)' },
  }),
  result({ dir: 'two' }),
]
const more = (key: string, at: number): readonly RunEvent[] =>
  EXAMPLES.flatMap((event) =>
    ['registers', 'evidence', 'host-action', 'guest-command', 'note'].includes(event.type)
      ? [
          JSON.parse(
            JSON.stringify(event).replaceAll(JSON.stringify(SAID_BY_GUEST), JSON.stringify(nasty)),
          ) as RunEvent,
        ]
      : [],
  ).map((event) => ({ ...event, at, ...('key' in event && { key }) }))

t.test('nothing of a guest runs, loads, or hides', { skip }, async (t) => {
  const { page, wrongs } = await open(await reportOf('hostile', { results: hostileResults, events: more }))
  await page.evaluate(() => {
    for (const each of document.querySelectorAll('details')) each.open = true
  })
  for (const text of ['<script>document.title="owned"</script>', 'onerror=alert(1)', '\\u{202e}'])
    t.ok((await page.getByText(text).count()) > 0, `is there to be read: ${text}`)
  t.equal(await page.title(), 'Attestbed report')
  t.equal(
    await page.locator('#root script, #root img, #root iframe, #root link, #root svg, #root base').count(),
    0,
  )
  t.notMatch(
    await page.locator('#root').textContent(),
    /[\u202a-\u202e\u2066-\u2069\u200b\u2028\u2029\x1b\x00]/u,
  )
  t.same(wrongs, [])
  await t.test('and would not even if it became an element', async (t) => {
    await using server = await countingServer()
    const tried = await page.evaluate(async (address) => {
      const refused: string[] = []
      addEventListener('securitypolicyviolation', ({ violatedDirective }) => refused.push(violatedDirective))
      const attempt = (action: () => void): void => {
        try {
          action()
        } catch {
          refused.push('trusted types')
        }
      }
      attempt(() => {
        document.body.innerHTML += '<b>x</b>'
      })
      attempt(() =>
        document.body.append(Object.assign(document.createElement('img'), { src: `${address}img` })),
      )
      attempt(() =>
        document.body.append(Object.assign(document.createElement('iframe'), { src: `${address}frame` })),
      )
      const script = document.createElement('script')
      attempt(() => script.append('document.title = "owned"'))
      attempt(() => document.body.append(script))
      await fetch(`${address}fetch`).catch(() => refused.push('fetch'))
      await new Promise((resolve) => setTimeout(resolve, 100))
      return refused
    }, server.address)
    for (const what of ['trusted types', 'img-src', 'frame-src', 'fetch']) t.ok(tried.includes(what), what)
    t.equal(await page.title(), 'Attestbed report')
    t.same(server.asked, [], 'nothing was asked for')
    const control = await opened?.browser.newPage()
    await control?.setContent(`<img src="${server.address}control">`)
    t.same(server.asked, ['/control'], 'control: a page without the policy does ask')
    await control?.close()
  })
  await page.close()
})

t.test(
  'a reader sees what failed at once: claim, expected, got, boots, console, command',
  { skip },
  async (t) => {
    const lines = ['BdsDxe: starting', 'needle one', 'needle two', `${'0'.repeat(32)} o 1 frame`]
    const results = [result({ dir: 'fine' }), { ...result(MIXED.results[1]), dir: 'broken' }]
    const file = await reportOf('failing', { results, lines: () => lines, events: more })
    const { page, wrongs } = await open(file, 'dark')
    const run = page.locator('.right')
    t.match(await run.locator('h2').textContent(), 'encrypted-root/sealed-by-guest ✗ fail')
    t.match(
      await run.locator('.claims .exp').first().textContent(),
      /expected\s*unlocked\s*got\s*ok 1 - forged/,
    )
    t.equal(await run.locator('.tl').count(), 2, 'a bar each boot')
    t.match(
      await run.locator('.command pre').first().textContent(),
      /^attestbed run encrypted-root\/sealed-by-guest --platform tcg/,
    )
    t.match(await run.locator('.command pre').last().textContent(), /^attestbed bundle .*broken$/)
    t.match(await run.locator('.register').first().textContent(), 'PCR 7')
    t.match(await run.textContent(), 'SNP report')
    t.match(await run.textContent(), 'OVMF_<b>.fd')
    t.equal(await page.locator('.cell').count(), 2)
    t.equal(await page.locator('.grid .b.E').count(), 2, 'what it rests on')
    await t.test('and finds words in its console, without the frames of the harness', async (t) => {
      t.equal(await run.locator('.con .l').count(), 3)
      await run.getByLabel('Search this console').fill('needle')
      t.match(await run.locator('.console .bar').textContent(), '1 of 2')
      await run.getByLabel('Search this console').press('Enter')
      t.match(await run.locator('.con .hit').textContent(), 'needle two')
      t.equal(await run.locator('.con mark').count(), 2)
    })
    await t.test('and plays it at the pace it had', async (t) => {
      await run.getByLabel('Search this console').fill('')
      await run.getByLabel('Time of the run').fill('150')
      t.equal(await run.locator('.con .l').count(), 1, 'at 150 ms the first line was there')
      await run.getByLabel('Time of the run').fill('210')
      t.equal(await run.locator('.con .l').count(), 2)
      t.equal(await run.locator('.cursor').count(), 1)
      await run.getByLabel('Speed').selectOption('64')
      await run.getByRole('button', { name: 'play' }).click()
      await page.waitForFunction(() => document.querySelectorAll('.con .l').length === 3)
      await run.getByRole('button', { name: 'show all' }).click()
      t.equal(await run.locator('.cursor').count(), 0)
    })
    t.same(wrongs, [])
    await page.close()
  },
)

t.test('a keyboard reaches everything', { skip }, async (t) => {
  const results = manyResults(60)
  const file = await reportOf('keys', { results, lines: (number) => [`line of run ${number}`, 'common'] })
  const { page, wrongs } = await open(file)
  const heading = (): Promise<string | null> => page.locator('.right h2').textContent()
  await page.locator('.grid .cell').first().focus()
  await page.keyboard.press('ArrowRight')
  await page.keyboard.press('ArrowDown')
  await page.keyboard.press('Enter')
  t.match(await heading(), 'subject-0/scenario-1')
  t.match(page.url(), /#run-10$/)
  await page.keyboard.press('/')
  await page.keyboard.type('scenario-3')
  t.equal(await page.locator('.grid .cell').count(), 9, 'the search narrows the grid')
  await page.keyboard.press('ControlOrMeta+A')
  await page.keyboard.type('run 42')
  await page.locator('.found-hit').first().waitFor()
  t.match(await page.locator('.found').textContent(), /In consoles: 1 line of 1 run/)
  await page.keyboard.press('Escape')
  await page.locator('.found').waitFor({ state: 'detached' })
  await page.keyboard.press('k')
  await page.locator('.con .l', { hasText: 'line of run 0' }).waitFor()
  t.match(page.url(), /#run-0$/, 'the failed one before')
  await page.goBack()
  t.match(page.url(), /#run-10$/)
  t.same(wrongs, [])
  await page.close()
})

t.test('a comparison says what is new, what is fixed, and what is gone', { skip }, async (t) => {
  const point = (scenario: string, outcome: 'pass' | 'fail', seconds = 10) =>
    result({ scenario, outcome, seconds, dir: scenario.replace('/', '.'), claims: [claim({ outcome })] })
  await reportOf('before', {
    results: [point('s/a', 'pass'), point('s/b', 'fail'), point('s/c', 'pass'), point('s/gone', 'pass')],
  })
  const now = [point('s/a', 'fail'), point('s/b', 'pass'), point('s/c', 'pass', 100), point('s/new', 'pass')]
  const file = await reportOf('now', { results: now }, join(directory, 'before'))
  const { page, wrongs } = await open(file)
  t.match(await page.locator('.right').textContent(), /s\/a ✗ fail[\s\S]*new failure · was pass in 10\.0 s/)
  t.match(await page.locator('.top').textContent(), '1 run of it is not here')
  await page.getByRole('button', { name: /^Fixed/ }).click()
  t.equal(await page.locator('.grid .cell').count(), 1)
  await page.getByRole('button', { name: /^Changed/ }).click()
  t.equal(await page.locator('.grid .cell').count(), 4)
  t.match(await page.locator('.grid .cell').nth(2).getAttribute('aria-label'), 'slower')
  t.same(wrongs, [])
  await page.close()
})

t.test(
  'two thousand runs are one screen of cells; a run is unpacked when it is looked at',
  { skip },
  async (t) => {
    // Most of them were never started: to make two thousand directories takes longer than to look at them.
    const results = manyResults(2000).map((each, number) =>
      number % 40 === 39 ? each : { ...each, dir: '' },
    )
    const file = await reportOf('many', { results, lines: (number) => bootLines(number, 40) })
    const { page, wrongs } = await open(file)
    t.equal(await page.locator('.grid .cell').count(), 2000)
    t.equal(await page.locator('.right h2').count(), 1)
    await page.locator('.grid .cell').last().click()
    await page.locator('.con .l').first().waitFor()
    t.match(await page.locator('.con .l').nth(3).textContent(), bootLines(1999, 40)[3])
    t.same(wrongs, [])
    await page.close()
  },
)

const COLUMNS = [
  ['platforms', ['tcg', 'kvm', 'sev', 'sev-es', 'sev-snp', 'tdx'], ['ovmf-secboot']],
  ['firmware', ['tcg', 'sev-snp'], ['ovmf-secboot', 'ovmf-inteltdx', 'ovmf-amdsev']],
] as const

t.test('the head of the matrix is read whole, however many columns there are', { skip }, async (t) => {
  for (const [name, platforms, builds] of COLUMNS) {
    const results = platforms.flatMap((platform) =>
      builds.map((firmware) => {
        const emulated = ['sev-snp', 'tdx'].includes(platform) && { emulatedOn: 'tcg' as const }
        return result({
          variant: { ...VARIANT, platform, firmware, ...emulated },
          dir: `${platform}-${firmware}`,
        })
      }),
    )
    const file = await reportOf(`columns-${name}`, { results })
    for (const theme of ['light', 'dark'] as const) {
      const { page, wrongs } = await open(file, theme)
      const columns = await page.$$eval('.grid .head th.c', (found) =>
        found.map((column) => ({
          words: column.textContent,
          isCut: [...column.children].some(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth),
        })),
      )
      t.equal(columns.length, results.length)
      const cut = columns.flatMap(({ isCut, words }) => (isCut ? [words] : []))
      t.same(cut, [], `${name}, ${theme}`)
      t.same(wrongs, [])
      await page.close()
    }
  }
})

t.test('a damaged report says so, and shows nothing made up', { skip }, async (t) => {
  const file = await reportOf('damaged', { results: [result({ dir: 'one' })] })
  const whole = readFileSync(file, 'utf8')
  const cases = [
    [whole.replace(/(id="index">).{40}/, '$1AAAA'), /This report cannot be shown/],
    [whole.replace(/<script[^>]*id="index">[^<]*<\/script>/, ''), /its block index is missing/],
    [whole.replace(/(id="block-0">).{40}/, '$1AAAA'), /encrypted-root\/stateful-vtpm ✓ pass.*Error: /s],
  ] as const
  for (const [text, words] of cases) {
    t.not(text, whole)
    writeFileSync(file, text)
    const { page } = await open(file)
    await page.locator('#root', { hasText: words }).waitFor()
    t.pass(words.source)
    await page.close()
  }
})

t.test('JUnit XML of hostile text is well-formed to a parser that is not ours', { skip }, async (t) => {
  const xml = junitXml({ results: [...MIXED.results, ...hostileResults] })
  const page = await opened?.browser.newPage()
  const found = await page?.evaluate((text) => {
    const parsed = new DOMParser().parseFromString(text, 'application/xml')
    return [
      parsed.querySelectorAll('parsererror, script, img').length,
      parsed.querySelectorAll('testcase').length,
    ]
  }, xml)
  t.same(found, [0, 9])
})
