/** Annotations of GitHub Actions: workflow commands on stdout, one a claim that is false and one a scenario that broke. */
import { escapeControls } from '../base/text.ts'
import type { RunEvent, ScenarioResult } from '../run/events.ts'
import { describeVariant } from './labels.ts'
import type { Reporter } from './reporter.ts'

/** GitHub shows ten of a kind a step, and drops the rest without a word. */
const MOST_SHOWN = 10

export class GithubReporter implements Reporter {
  readonly name = 'GitHub annotations'
  readonly #write: (text: string) => void
  #wrong = 0

  constructor(write: (text: string) => void) {
    this.#write = write
  }

  event(event: RunEvent): void {
    if (event.type === 'scenario-ended') for (const each of annotationsOf(event.result)) this.#add(each)
    if (event.type !== 'run-ended') return
    for (const { place, reason, until } of event.result.expired ?? []) {
      const [, file = place, line, col] = /^(.*):(\d+):(\d+)$/.exec(place) ?? []
      const title = 'a mark of the matrix is out of date'
      this.#add({
        level: 'error',
        place: { file, line, col },
        title,
        text: `"${reason}" held until ${until}`,
      })
    }
    if (this.#wrong > MOST_SHOWN)
      this.#add({
        level: 'notice',
        title: 'attestbed',
        text: `${this.#wrong} annotations; GitHub shows ten of a kind`,
      })
  }

  #add(annotation: Annotation): void {
    if (annotation.level !== 'notice') this.#wrong += 1
    this.#write(commandOf(annotation))
  }
}

interface Annotation {
  readonly level: 'error' | 'warning' | 'notice'
  readonly place?: {
    readonly file: string
    readonly line?: string | undefined
    readonly col?: string | undefined
  }
  readonly title: string
  readonly text: string
}

function annotationsOf(result: ScenarioResult): readonly Annotation[] {
  const { scenario, variant, outcome, reason, claims, unstable } = result
  if (outcome !== 'fail' && outcome !== 'error') return []
  const level = unstable === undefined ? 'error' : 'warning'
  const place = { file: `scenarios/${scenario}.ts`, line: '1' }
  const title = `${scenario} (${describeVariant(variant)})`
  const remark = unstable === undefined ? '' : `\nmarked unstable: ${unstable}`
  const wrong = claims.filter((claim) => claim.outcome === 'fail')
  const say = (text: string): Annotation => ({ level, place, title, text: `${text}${remark}` })
  const claimed = wrong.map(({ claim, basis, expected, got }) =>
    say(`false: ${claim} (${basis})\nexpected ${expected}\ngot ${got}`),
  )
  // Of a fail, the reason is the claims; what broke beside them would otherwise be told nowhere.
  return wrong.length === 0 || outcome === 'error' ? [...claimed, say(`${outcome}: ${reason}`)] : claimed
}

/** `::error file=F,line=1,title=T::message`; a line feed in a message is `%0A`, all else of a guest is escaped. */
function commandOf({ level, place, title, text }: Annotation): string {
  const properties = Object.entries({ ...place, title }).flatMap(([key, value]) =>
    value === undefined ? [] : [`${key}=${property(value)}`],
  )
  const lines = text.split('\n').map((line) => data(escapeControls(line)))
  return `::${level} ${properties.join(',')}::${lines.join('%0A')}\n`
}

function data(text: string): string {
  return withoutCommands(text).replaceAll('%', '%25')
}

/**
 * `text` for a log of GitHub Actions, whole lines of it: its runner obeys `::name::` at the start of a line, behind any
 * blanks, and `##[name]` wherever it stands. So that a guest commands nothing, both are broken by a space.
 */
export function withoutCommands(text: string): string {
  return text.replaceAll('##[', '# #[').replaceAll(/^(\s*):(?=:)/gm, '$1: ')
}

function property(text: string): string {
  return data(escapeControls(text)).replaceAll(':', '%3A').replaceAll(',', '%2C')
}
