import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { eventSchema, eventsJsonSchema, runResultSchema, SCHEMA_IS_THE_TYPE } from './event-schema.ts'
import { EXAMPLES } from './testing/event-examples.ts'

t.test('the published schema is the one that the program reads by', async (t) => {
  const published = readFileSync(join(import.meta.dirname, 'events.schema.json'), 'utf8')
  t.same(JSON.parse(published), JSON.parse(JSON.stringify(eventsJsonSchema())))
})

t.equal(SCHEMA_IS_THE_TYPE, true)

t.test('every type of event has an example, and every example is an event', async (t) => {
  const types = eventSchema.options.map((option) => option.shape.type.value)
  t.same(new Set(EXAMPLES.map(({ type }) => type)), new Set(types))
  for (const event of EXAMPLES) {
    const { success, error } = eventSchema.safeParse(JSON.parse(JSON.stringify(event)))
    t.ok(success, event.type, { error: error?.message })
  }
})

t.test('an event with a field too many, too few or of another type is none', async (t) => {
  for (const event of EXAMPLES) {
    t.notOk(eventSchema.safeParse({ ...event, extra: 1 }).success, `${event.type}: an unknown field`)
    t.notOk(eventSchema.safeParse({ ...event, at: 'now' }).success, `${event.type}: at is a text`)
    for (const field of Object.keys(event)) {
      if (field === 'host' && event.type === 'run-started') continue
      const { [field]: _, ...rest } = event as unknown as Record<string, unknown>
      t.notOk(eventSchema.safeParse(rest).success, `${event.type} without ${field}`)
    }
  }
  t.notOk(runResultSchema.safeParse({}).success)
})
