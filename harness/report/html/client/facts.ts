/** What a run rests on and what it measured: claims, registers, evidence, materials. */
import { type ComponentChild, h } from 'preact'
import type { RegisterDifference } from '../../../run/events.ts'
import type { ProcessRecord, RegisterTable, RunDetail } from '../data.ts'
import { BASES, type BasisLetter, SIGNS } from './words.ts'

export function Claims({ claims }: Pick<RunDetail, 'claims'>): ComponentChild {
  if (claims.length === 0) return h('p', { class: 'empty' }, 'No claim was decided.')
  return h(
    'table',
    { class: 'claims' },
    h(
      'tbody',
      {},
      claims.map(({ id, claim, basis, outcome, expected, got }) =>
        h(
          'tr',
          { key: id },
          h('td', { class: outcome, title: outcome }, SIGNS[outcome]),
          h(
            'td',
            {},
            claim,
            outcome === 'fail'
              ? h(
                  'dl',
                  { class: 'exp mono' },
                  h('dt', {}, 'expected'),
                  h('dd', {}, expected),
                  h('dt', {}, 'got'),
                  h('dd', {}, got),
                )
              : h(
                  'details',
                  { class: 'mono dim' },
                  h('summary', {}, outcome === 'skip' ? got : 'expected and got'),
                  h('div', {}, `expected ${expected}`),
                  h('div', {}, `got ${got}`),
                ),
          ),
          h('td', {}, h(BasisTag, { basis })),
        ),
      ),
    ),
  )
}

function BasisTag({ basis }: { readonly basis: string }): ComponentChild {
  const letter = basis.slice(0, 1).toUpperCase() as BasisLetter
  return h(
    'span',
    { class: `b ${letter}`, title: `rests on: ${BASES[letter]}` },
    letter,
    h('em', {}, basis.slice(1)),
  )
}

const VERDICTS: Readonly<
  Record<RegisterDifference['verdict'], readonly [sign: string, style: string, words: string]>
> = {
  equal: ['=', 'pass', 'as predicted'],
  different: ['≠', 'fail', 'differs'],
  'log-disagrees': ['≁', 'fail', 'as predicted, but its log does not lead to it'],
  unknown: ['?', 'skip', 'cannot be predicted'],
}

const FALSE: ReadonlySet<RegisterDifference['verdict']> = new Set(['different', 'log-disagrees'])

function namesOf(registers: readonly RegisterDifference[]): string {
  return registers.map(({ name }) => name).join(', ')
}

export function Registers({ tables }: { readonly tables: readonly RegisterTable[] }): ComponentChild {
  return h(
    'div',
    {},
    tables.map((table, number) => {
      const differing = table.registers.filter(({ verdict }) => FALSE.has(verdict))
      const unknown = table.registers.filter(({ verdict }) => verdict === 'unknown')
      return h(
        'details',
        { key: number, open: differing.length > 0 || tables.length === 1 },
        h(
          'summary',
          {},
          `${table.vm}, ${(table.at / 1000).toFixed(1)} s, ${table.bank}: `,
          differing.length === 0
            ? h('span', { class: 'pass' }, 'as predicted')
            : h('span', { class: 'fail' }, `${namesOf(differing)} not as predicted`),
          unknown.length === 0
            ? null
            : h('span', { class: 'dim' }, `, ${namesOf(unknown)} cannot be predicted`),
        ),
        table.registers.map((register) => h(Register, { key: register.name, register })),
      )
    }),
  )
}

function Register({ register }: { readonly register: RegisterDifference }): ComponentChild {
  const { name, verdict, predicted, seen, events } = register
  const [sign, style, words] = VERDICTS[verdict]
  return h(
    'details',
    { class: 'register', open: verdict === 'different' || verdict === 'log-disagrees' },
    h(
      'summary',
      { class: 'mono' },
      h('span', { class: style, title: words }, sign),
      ` ${name} `,
      h('span', { class: 'dim' }, verdict === 'equal' ? shortHex(seen ?? predicted) : words),
    ),
    verdict === 'equal'
      ? null
      : h(
          'dl',
          { class: 'exp mono' },
          h('dt', {}, 'predicted'),
          h('dd', {}, predicted ?? 'not known'),
          h('dt', {}, 'seen'),
          h('dd', {}, seen ?? 'not read'),
        ),
    h(
      'table',
      { class: 'plain mono events' },
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          ['', 'predicted', 'logged'].map((word) => h('th', { scope: 'col' }, word)),
        ),
      ),
      h(
        'tbody',
        {},
        events.map((event, place) =>
          h(
            'tr',
            { key: place, class: event.same ? '' : 'differs' },
            h('td', { class: event.same ? 'pass' : 'fail' }, event.same ? '=' : '≠'),
            h(
              'td',
              {},
              event.predicted
                ? [
                    h('div', {}, event.predicted.what),
                    h('div', { class: 'dim' }, `${event.predicted.type} ${shortHex(event.predicted.digest)}`),
                  ]
                : h('span', { class: 'dim' }, 'nothing'),
            ),
            h(
              'td',
              {},
              event.logged
                ? h(
                    'div',
                    { class: event.same ? 'dim' : '' },
                    `${event.logged.type} ${shortHex(event.logged.digest)}`,
                  )
                : h('span', { class: 'dim' }, 'nothing'),
            ),
          ),
        ),
      ),
    ),
  )
}

function shortHex(hex: string | undefined): string {
  if (hex === undefined) return 'not known'
  return hex.length > 20 ? `${hex.slice(0, 8)}…${hex.slice(-8)}` : hex
}

export function Evidence({ vm, page }: RunDetail['evidence'][number]): ComponentChild {
  return h(
    'details',
    { class: 'evidence' },
    h('summary', {}, h('span', { class: 'dim' }, vm === '' ? '' : `${vm}: `), page.title),
    page.says.map((section) =>
      h(
        'section',
        { key: section.title },
        h('h4', {}, section.title),
        h(
          'table',
          { class: 'plain mono' },
          h(
            'tbody',
            {},
            section.rows.map(({ label, value, note }) =>
              h(
                'tr',
                {},
                h('th', { scope: 'row' }, label),
                h(
                  'td',
                  { class: 'wrap' },
                  value,
                  note === undefined ? null : h('span', { class: 'dim' }, `  ${note}`),
                ),
              ),
            ),
          ),
        ),
      ),
    ),
    h('h4', {}, 'What vouches for it'),
    h(
      'ul',
      {},
      page.vouchedBy.map(({ state, text }) =>
        h('li', { class: state === 'holds' ? '' : 'dim' }, `${state === 'holds' ? '✓' : '?'} ${text}`),
      ),
    ),
  )
}

export function Materials({ processes }: { readonly processes: readonly ProcessRecord[] }): ComponentChild {
  return h(
    'div',
    {},
    processes.map(({ vm, process, argv, materials }) =>
      h(
        'details',
        { key: `${vm} ${process}`, open: processes.length === 1 },
        h('summary', {}, `${vm}, QEMU process ${process}: ${materials.length} materials`),
        h(
          'table',
          { class: 'plain mono' },
          h(
            'tbody',
            {},
            materials.map(({ role, path, sha256, bytes }) =>
              h(
                'tr',
                {},
                h('th', { scope: 'row' }, role),
                h('td', { title: path }, path.split('/').at(-1) ?? path),
                h('td', { title: sha256 }, shortHex(sha256)),
                h('td', { class: 'num dim' }, bytes.toLocaleString('en')),
              ),
            ),
          ),
        ),
        h(
          'details',
          {},
          h('summary', { class: 'dim' }, 'command line'),
          h('pre', { class: 'mono' }, argv.join(' ')),
        ),
      ),
    ),
  )
}
