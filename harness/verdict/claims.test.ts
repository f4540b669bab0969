import t from 'tap'
import { ClaimBook } from './claims.ts'

const declared = {
  opens: { claim: 'the root opens' },
  hidden: { claim: 'the host cannot read it', requires: 'hardware' },
} as const

t.test('a claim passes only when what was got equals what was expected', async (t) => {
  const book = new ClaimBook(declared, 'emulated')
  t.equal(book.decide('opens', { expected: { rc: 0 }, got: { rc: 1 } }).outcome, 'fail')
  t.equal(new ClaimBook(declared, 'emulated').decide('opens', { expected: [1], got: [1] }).outcome, 'pass')
})

t.test('strict: a number is not its string', async (t) => {
  t.equal(new ClaimBook(declared, 'emulated').decide('opens', { expected: 1, got: '1' }).outcome, 'fail')
})

t.test('a claim that needs hardware is skipped on every other basis, true or false', async (t) => {
  for (const basis of ['emulated', 'rehearsed', 'predicted'] as const) {
    const decided = new ClaimBook(declared, basis).decide('hidden', { expected: 1, got: 1 })
    t.equal(decided.outcome, 'skip')
    t.match(decided.got, /needs hardware/)
  }
  t.equal(new ClaimBook(declared, 'hardware').decide('hidden', { expected: 1, got: 2 }).outcome, 'fail')
})

t.test(
  'a claim that needs a host that lies is decided where the TEE is emulated, and skipped on hardware',
  async (t) => {
    const lies = { lies: { claim: 'it is noticed', requires: 'emulation' } } as const
    t.equal(new ClaimBook(lies, 'emulated').decide('lies', { expected: 1, got: 2 }).outcome, 'fail')
    t.equal(new ClaimBook(lies, 'emulated').decide('lies', { expected: 1, got: 1 }).outcome, 'pass')
    t.equal(new ClaimBook(lies, 'hardware').decide('lies', { expected: 1, got: 1 }).outcome, 'skip')
    t.equal(new ClaimBook(lies, 'hardware').skip('lies', 'emulation-required: x').outcome, 'skip')
    t.throws(() => new ClaimBook(lies, 'emulated').skip('lies', ''), { code: 'bad-scenario' })
  },
)

t.test('a claim is decided once, and only if it is declared', async (t) => {
  const book = new ClaimBook(declared, 'emulated')
  book.decide('opens', { expected: 1, got: 2 })
  t.throws(() => book.decide('opens', { expected: 1, got: 1 }), { code: 'bad-scenario' })
  t.throws(() => book.decide('other', { expected: 1, got: 1 }), { code: 'bad-scenario' })
  t.equal(book.decided[0]?.outcome, 'fail')
})

t.test('a closed book takes no claim', async (t) => {
  const book = new ClaimBook(declared, 'emulated')
  book.close()
  t.throws(() => book.decide('opens', { expected: 1, got: 1 }), { code: 'bad-scenario', message: /ended/ })
  t.same(book.decided, [])
})

t.test('what was never decided is named', async (t) => {
  const book = new ClaimBook(declared, 'emulated')
  book.decide('opens', { expected: 1, got: 1 })
  t.same(book.undecided, ['hidden'])
})

t.test(
  'a claim may rest on less than what the guest ran on, never on hardware that was not there',
  async (t) => {
    const claims = {
      rehearsed: { claim: 'QEMU measures this', basis: 'rehearsed' },
      real: { claim: 'the hardware does', requires: 'hardware', basis: 'rehearsed' },
    } as const
    const book = new ClaimBook(claims, 'hardware')
    t.equal(book.decide('rehearsed', { expected: 1, got: 1 }).basis, 'rehearsed')
    t.equal(book.decide('real', { expected: 1, got: 1 }).basis, 'hardware')
    t.match(new ClaimBook(claims, 'emulated').decide('real', { expected: 1, got: 1 }), { outcome: 'skip' })
  },
)

t.test('only a claim that needs hardware may be skipped, and then says why', async (t) => {
  const book = new ClaimBook(declared, 'hardware')
  t.match(book.skip('hidden', 'the host gives no certificates'), { outcome: 'skip', got: /no certificates/ })
  t.throws(() => book.decide('hidden', { expected: 1, got: 1 }), { code: 'bad-scenario' })
  t.throws(() => book.skip('opens', 'no time'), { code: 'bad-scenario' })
  t.same(book.undecided, ['opens'])
})
