import t from 'tap'
import { Scope } from './scope.ts'

t.test('a scope runs its teardowns in reverse order, once', async (t) => {
  const order: string[] = []
  const scope = new Scope('run')
  scope.defer('first', () => void order.push('first'))
  scope.defer('second', async () => void order.push('second'))
  await Promise.all([scope.close(), scope.close()])
  await scope.close()
  t.same(order, ['second', 'first'])
  t.ok(scope.closed)
})

t.test('a failing teardown does not keep the others from running, and all failures are told', async (t) => {
  const order: string[] = []
  const scope = new Scope('run')
  scope.defer('first', () => void order.push('first'))
  scope.defer('second', () => {
    throw new Error('no second')
  })
  scope.defer('third', () => Promise.reject(new Error('no third')))
  const error = await scope.close().then(
    () => undefined,
    (reason: unknown) => reason,
  )
  t.same(order, ['first'])
  t.type(error, AggregateError)
  t.match((error as AggregateError).message, /third.*no third.*second.*no second/)
})

t.test('a child scope closes with its parent, in its turn, or before and then only once', async (t) => {
  const order: string[] = []
  const parent = new Scope('run')
  parent.defer('outer', () => void order.push('outer'))
  const early = parent.child('vm1')
  early.defer('early', () => void order.push('early'))
  const late = parent.child('vm2')
  late.defer('late', () => void order.push('late'))
  await early.close()
  t.same(order, ['early'])
  await parent.close()
  t.same(order, ['early', 'late', 'outer'])
  t.equal(late.name, 'run/vm2')
})

t.test('what is registered while a scope closes runs too; afterwards it is refused', async (t) => {
  const order: string[] = []
  const scope = new Scope('run')
  scope.defer('outer', () => {
    scope.defer('inner', () => void order.push('inner'))
  })
  await scope.close()
  t.same(order, ['inner'])
  t.throws(() => scope.defer('too late', () => {}), /already closed/)
  t.throws(() => scope.child('too late'), /already closed/)
})

t.test('`await using` closes a scope when its block is left by an error', async (t) => {
  let closed = false
  const body = async (): Promise<void> => {
    await using scope = new Scope('block')
    scope.defer('it', () => {
      closed = true
    })
    throw new Error('out')
  }
  await t.rejects(body(), /out/)
  t.ok(closed)
})
