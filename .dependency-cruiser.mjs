/**
 * Which room may import which (the table of the design), and a few rules beside it. `scripts/import-rules.test.ts`
 * plants a violation of each and sees it caught.
 */

/** Knowledge points down: room to the rooms it may import, besides itself. */
const MAY_IMPORT = {
  base: [],
  formats: ['base'],
  measure: ['base', 'formats'],
  evidence: ['base', 'formats'],
  system: ['base'],
  probe: ['base', 'system'],
  materials: ['base', 'formats', 'system'],
  machine: ['base', 'system'],
  rehearsal: ['base', 'measure', 'system', 'machine'],
  platforms: ['base', 'formats', 'measure', 'evidence', 'system', 'probe', 'materials', 'machine', 'rehearsal'],
  broker: ['base', 'formats', 'evidence', 'system'],
  verdict: ['base', 'formats', 'measure', 'evidence'],
  attacks: ['base', 'formats', 'machine', 'materials', 'broker'],
  run: [
    ...['base', 'formats', 'measure', 'evidence', 'system', 'probe', 'materials', 'machine', 'rehearsal'],
    ...['platforms', 'broker', 'verdict', 'attacks'],
  ],
  report: ['base'],
  bundle: ['base', 'formats', 'system', 'probe', 'materials', 'machine', 'platforms', 'run'],
  cli: [
    ...['base', 'formats', 'measure', 'evidence', 'system', 'probe', 'materials', 'machine', 'rehearsal', 'platforms'],
    ...['broker', 'verdict', 'run', 'report', 'bundle'],
  ],
}

/** Single files of another room that a room may import. */
const ALSO_FILES = {
  report: ['run/events.ts', 'run/event-schema.ts', 'probe/facts.ts', 'machine/console/clean.ts'],
}

const rooms = Object.keys(MAY_IMPORT).join('|')
const TEST_FILE = '[.]test[.]ts$'

const roomRules = Object.entries(MAY_IMPORT).map(([room, allowed]) => ({
  name: `room-${room}`,
  comment: `${room} may import ${allowed.join(', ') || 'nothing of ours'}`,
  severity: 'error',
  from: { path: `^harness/${room}/` },
  to: {
    path: '^(harness|scenarios|scripts|images|ovmf)/',
    pathNot: [
      `^harness/(${[room, ...allowed].join('|')})/`,
      ...(ALSO_FILES[room] ?? []).map((file) => `^harness/${file.replaceAll('.', '[.]')}$`),
    ],
  },
}))

/** Builtins that reach beyond memory. */
const OUTSIDE_WORLD = '^(node:)?(child_process|cluster|dgram|fs|http|http2|https|net|tls|worker_threads)(/|$)'
const PROCESS_STARTERS = '^(node:)?(child_process|cluster)$|(^|/)node_modules/(execa|node-pty)/'

export default {
  forbidden: [
    ...roomRules,
    {
      name: 'known-rooms',
      comment: 'a new room needs a line in MAY_IMPORT',
      severity: 'error',
      from: { path: `^harness/(?!(${rooms})/)` },
      to: {},
    },
    {
      name: 'scenario-surface',
      comment: 'a scenario may import only the public surface of run',
      severity: 'error',
      from: { path: '^scenarios/', pathNot: TEST_FILE },
      to: { pathNot: '^harness/run/index[.]ts$' },
    },
    {
      name: 'pure-rooms',
      comment: 'base, formats and measure touch nothing outside memory',
      severity: 'error',
      from: { path: '^harness/(base|formats|measure)/', pathNot: [TEST_FILE, '/testing/'] },
      to: { path: OUTSIDE_WORLD },
    },
    {
      name: 'processes-through-system',
      comment: 'started elsewhere, a process outlives the harness; the terminal of `shell` is the exception',
      severity: 'error',
      from: {
        path: '^harness/',
        pathNot: [TEST_FILE, '/testing/', '^harness/system/', '^harness/machine/console/'],
      },
      to: { path: PROCESS_STARTERS },
    },
    {
      name: 'testing-folders',
      comment: 'testing/ serves tests, benchmarks and the fuzzer, and platforms where an emulated TEE was asked for',
      severity: 'error',
      from: { pathNot: [TEST_FILE, '/testing/', '^harness/platforms/', '^scripts/bench/', '^scripts/fuzz[.]ts$'] },
      to: { path: '/testing/' },
    },
    {
      name: 'tests-are-leaves',
      comment: 'nothing imports a test',
      severity: 'error',
      from: {},
      to: { path: TEST_FILE },
    },
    {
      name: 'dev-dependencies',
      comment: 'what users run may not need what only tests need',
      severity: 'error',
      from: { path: '^harness/', pathNot: [TEST_FILE, '/testing/'] },
      to: { dependencyTypes: ['npm-dev'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'no-cycles',
      comment: 'types that name each other are no cycle: nothing of them is left at run time',
      severity: 'error',
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
    },
    { name: 'resolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.json'], conditionNames: ['import', 'node', 'default'] },
  },
}
