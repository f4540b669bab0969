/** Evidence and endorsements as they are carried: hex, base64, JSON, and the files of a vTPM beside a report. */
import { digest } from '../../../base/digest.ts'
import { FormatError } from '../../../base/errors.ts'
import { encodePem } from '../../../formats/pem.ts'
import { SNP_SIGNED_BYTES } from '../../../formats/snp/report.ts'
import { tpmName } from '../../../formats/tpm2/public.ts'
import { type Examination, examine } from '../../examination.ts'
import type { EvidenceKind } from '../../kind.ts'
import type { VerifyRequest } from '../../request.ts'
import { snpSteps } from '../../snp/examine.ts'
import { tdxSteps } from '../../tdx/examine.ts'
import { plainBytes } from '../../text-forms.ts'
import { encodeCredentialRecord } from '../../tpm/activation.ts'
import { makeCredential } from '../../tpm/credential.ts'
import { readTpmEvidence } from '../../tpm/quote-file.ts'
import { unwrap } from '../../unwrap.ts'
import { parseAzureEvidence } from '../../vtpm/azure-evidence.ts'
import { hclSteps } from '../../vtpm/examine.ts'
import { svsmSteps } from '../../vtpm/svsm-examine.ts'
import { logRequest, snpRequest, tdxRequest, tpmRequest } from '../emulated-requests.ts'
import { hclRequest } from '../hcl-report.ts'
import { ukiBoot } from '../measured-boot.ts'
import { activateCredential, makeAk, makeEk } from '../software-tpm.ts'
import type { FuzzTarget } from './engine.ts'
import { evidenceTarget, MAX_BYTES, sameAs } from './evidence-target.ts'
import { Forgery } from './forgery.ts'

export function carriedTargets(): readonly FuzzTarget[] {
  return [...textTargets(), ...svsmTargets(), azureTarget()]
}

const texts = (bytes: Uint8Array): readonly Buffer[] =>
  (['hex', 'base64', 'base64url'] as const).map((form) => Buffer.from(Buffer.from(bytes).toString(form)))
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))

/** As `verifyEvidence` does it: what cannot be unwrapped is not believed. */
function unwrapped(
  kind: EvidenceKind,
  use: (bytes: Uint8Array) => Examination,
): (input: Uint8Array) => Pick<Examination, 'authentic' | 'acceptable'> {
  return (evidence) => {
    try {
      return use(unwrap({ evidence, kind }).bytes)
    } catch (error) {
      if (error instanceof FormatError) return { authentic: false, acceptable: false }
      throw error
    }
  }
}

function textTargets(): readonly FuzzTarget[] {
  const snp = snpRequest()
  const tdx = tdxRequest()
  const [root = new Uint8Array(), intermediate = new Uint8Array(), leaf = new Uint8Array()] = snp.certificates
  const reports = texts(snp.evidence)
  const quotes = [
    ...texts(tdx.evidence),
    json({ quote: Buffer.from(tdx.evidence).toString('hex'), event_log: '[]' }),
    json({ quote: Buffer.from(tdx.evidence).toString('base64'), cc_eventlog: null }),
  ]
  const pem = (...each: readonly Uint8Array[]) => each.map((der) => encodePem('CERTIFICATE', der)).join('')
  const thim = { vcekCert: pem(leaf), tcbm: 'DB18000000000004', certificateChain: pem(intermediate, root) }
  const bytesOf = (evidence: Uint8Array) => unwrap({ evidence }).bytes
  return [
    evidenceTarget('SNP report in text', reports, {
      run: unwrapped('snp-report', (bytes) => examine(snpSteps(bytes, snp))),
      isGenuine: sameAs(reports, (input) => plainBytes(input).subarray(0, SNP_SIGNED_BYTES)),
    }),
    evidenceTarget('TDX quote in text', quotes, {
      run: unwrapped('tdx-quote', (bytes) => examine(tdxSteps(bytes, tdx))),
      // Up to the attestation key's signature: header of 48 bytes, body of 584.
      isGenuine: sameAs(quotes, (input) => bytesOf(input).subarray(0, 632)),
    }),
    evidenceTarget('certificates in text', [json(thim), ...texts(leaf), Buffer.from(pem(leaf))], {
      run: (file) => examine(snpSteps(snp.evidence, { ...snp, certificates: [file, intermediate, root] })),
      // Whatever the file says, the report is the same: only crashes can be found.
      isGenuine: () => true,
    }),
  ]
}

const NONCE = Buffer.alloc(64, 3)

/** A guest over an SVSM: its vTPM's EK is in the manifest, an AK is bound to it, and signs what the log replays to. */
function svsmGuest(): VerifyRequest {
  const [ek, ak] = [makeEk({ kind: 'P-256' }), makeAk({ scheme: 'ecdsa' })]
  const secret = Buffer.alloc(32, 5)
  const credential = makeCredential({ ek: ek.area, akName: tpmName(ak.area), secret })
  const { evidence: eventLog, quotes } = logRequest({ events: ukiBoot('pcr'), signer: ak, nonce: NONCE })
  return snpRequest({
    claims: { reportData: digest('sha512', NONCE, ek.area.bytes), vmpl: 0 },
    policy: { freshness: { nonce: 'required' }, snp: { vmpls: [0] }, tpm: {}, eventLog: {} },
    more: {
      ...{ svsmManifest: ek.area.bytes, nonce: NONCE, quotes, eventLog, ak: ak.area.bytes },
      credential: Buffer.from(encodeCredentialRecord({ ek: ek.area, ak: ak.area, secret })),
      activated: activateCredential(ek, tpmName(ak.area), credential),
    },
  })
}

function svsmTargets(): readonly FuzzTarget[] {
  const guest = svsmGuest()
  const examined = (more: Partial<VerifyRequest>) => examine(svsmSteps(guest.evidence, { ...guest, ...more }))
  const { svsmManifest = new Uint8Array(), activated = new Uint8Array(), quotes } = guest
  const [quote = new Uint8Array()] = quotes
  const { evidence: bare } = tpmRequest()
  return [
    evidenceTarget('SVSM manifest', [svsmManifest], {
      run: (input) => examined({ svsmManifest: input, eventLog: undefined }),
      isGenuine: sameAs([svsmManifest], plainBytes),
    }),
    evidenceTarget('quote of an SVSM vTPM', [quote, ...texts(quote)], {
      run: (input) => examined({ quotes: [input] }),
      isGenuine: sameAs([quote], (input) =>
        Buffer.concat(readTpmEvidence(input).quotes.map(({ attest }) => attest)),
      ),
    }),
    evidenceTarget('secret of a credential', [activated], {
      run: (input) => examined({ activated: input, eventLog: undefined }),
      isGenuine: sameAs([activated], (input) => input),
    }),
    {
      ...{ name: 'quote by another AK than that of the SVSM', seeds: [bare], maxBytes: MAX_BYTES },
      run: (input) => {
        if (examined({ quotes: [input] }).authentic) throw new Forgery('authentic, and signed by a stranger')
      },
    },
  ]
}

/** As an Azure attester packs it: report, VCEK, and the quote of the paravisor's vTPM. */
function azureTarget(): FuzzTarget {
  const { evidence, quotes, certificates, ...rest } = hclRequest({
    events: ukiBoot('pcr'),
    policy: { snp: {}, hcl: {}, tpm: {} },
    more: { eventLog: undefined },
  })
  const [root = new Uint8Array(), intermediate = new Uint8Array(), leaf = new Uint8Array()] = certificates
  const quote: unknown = JSON.parse(Buffer.from(quotes[0] ?? '').toString('utf8'))
  const vcek = Buffer.from(leaf).toString('base64url')
  const hcl_report = Buffer.from(evidence).toString('base64url')
  const seeds = [json({ version: 1, hcl_report, tpm_quote: quote, vcek })]
  return evidenceTarget('HCL report in JSON', seeds, {
    run: (input) =>
      examine(hclSteps(input, { ...rest, evidence: input, quotes: [], certificates: [intermediate, root] })),
    isGenuine: sameAs(seeds, (input) => {
      const { hcl, quote: signed } = parseAzureEvidence(Buffer.from(input).toString('utf8'))
      return Buffer.concat([hcl.hardwareReport.subarray(0, SNP_SIGNED_BYTES), hcl.runtimeData, signed.attest])
    }),
  })
}
