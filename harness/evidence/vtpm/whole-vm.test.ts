/** One run over an HCL report, the quotes of its vTPM and the log of the VM, held against one policy with all sections. */
import t from 'tap'
import type { ResolvedPolicy } from '../policy/resolve.ts'
import { bytes, finds } from '../testing/finds.ts'
import { type HclCase, hclRequest } from '../testing/hcl-report.ts'
import { systemdRecord, ukiBoot } from '../testing/measured-boot.ts'
import { makeAk } from '../testing/software-tpm.ts'
import { verifyEvidence } from '../verify-evidence.ts'

const events = ukiBoot('pcr')
const NONCE = bytes(7, 32)
const WHOLE: ResolvedPolicy = {
  freshness: { nonce: 'required' },
  snp: { vmpls: [0] },
  hcl: { vmConfiguration: { 'secure-boot': true } },
  tpm: { clockSafe: 'required', banks: ['sha256'] },
  eventLog: { secureBoot: 'on' },
}

const whole = (spec: Partial<HclCase> = {}) => hclRequest({ events, policy: WHOLE, nonce: NONCE, ...spec })
const codesOf = async (spec: Partial<HclCase>) =>
  (await verifyEvidence(whole(spec))).findings.map(({ code }) => code)

t.test('hardware, vTPM and log together meet a policy that has a section for each', async (t) => {
  await finds(t, whole())
  const { kind, fields, page } = await verifyEvidence(whole())
  t.equal(kind, 'hcl-report')
  t.match(fields, { event_log: { bank: 'sha256', secure_boot: { value: true, covered: true } }, tpm: {} })
  const vouchers = page.vouchedBy.map(({ text }) => text)
  t.equal(vouchers.filter((text) => /^the log explains the whole of PCR/.test(text)).length, 1)
  t.equal(new Set(vouchers).size, vouchers.length, 'nothing vouches twice')
})

t.test('what user space measured goes on where the log ends, or comes alone', async (t) => {
  const systemd = systemdRecord('enter-initrd')
  await finds(t, whole({ systemd }))
  const { fields } = await verifyEvidence(whole({ systemd }))
  t.match(fields, { event_log: { phases: [{ value: 'enter-initrd', covered: true }] } })
  const alone = { events: [], systemd, policy: { ...WHOLE, eventLog: {} }, more: { eventLog: undefined } }
  t.match(await verifyEvidence(whole(alone)), { fields: { event_log: { userspace_records: 1 } } })
})

t.test('each part is held against its own section', async (t) => {
  const section = (policy: ResolvedPolicy) => ({ policy: { ...WHOLE, ...policy } })
  await finds(t, whole(section({ eventLog: { secureBoot: 'off' } })), 'secure-boot')
  await finds(t, whole(section({ tpm: { clockSafe: 'required', banks: ['sha384'] } })), 'bank', 'bank')
  const { eventLog: _, ...silent } = WHOLE
  await finds(t, whole({ policy: silent }), 'policy-silent')
  await finds(t, whole({ more: { eventLog: undefined } }), 'evidence-missing')
})

t.test('a TD quote beside an SNP report, which nobody would look at, is refused', async (t) => {
  const { quotes } = whole()
  for (const idle of ['{"quote":"garbage"}', `{"quote":"${Buffer.alloc(700, 1).toString('base64')}"}`])
    t.same(await codesOf({ more: { quotes: [...quotes, Buffer.from(idle)] } }), ['binding-mismatch'])
})

t.test('a log counts only where the endorsed vTPM quoted what it replays to', async (t) => {
  const other = whole({ events: events.slice(0, -1) })
  t.same(await codesOf({ more: { quotes: other.quotes } }), ['replay-mismatch'], 'the quote of another boot')
  t.same(await codesOf({ signer: makeAk({ scheme: 'rsassa' }) }), ['quote-signature'], "another TPM's quote")
  const stranger = makeAk({ scheme: 'rsassa' })
  const named = { signer: stranger, more: { ak: stranger.area.bytes } }
  t.same(await codesOf(named), ['quote-signature'], 'also where the caller names it')
  t.same(await codesOf({ more: { quotes: [] } }), ['endorsement-missing'], 'no quote')
  t.same(await codesOf({ more: { nonce: bytes(8, 32) } }), ['nonce-mismatch'], 'an old quote')
  t.same(await codesOf({ more: { eventLog: bytes(1, 40) } }), ['bad-value'], 'no log')
  await finds(t, whole({ unquoted: [7] }), 'secure-boot')
})
