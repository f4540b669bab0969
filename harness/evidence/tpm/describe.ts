/** TPM quotes for people and for JSON. */
import type { Attest } from '../../formats/tpm2/attest.ts'
import { hashAlgorithm } from '../../formats/tpm2/hash-algorithms.ts'
import type { PcrSelection } from '../../formats/tpm2/pcr-selection.ts'
import type { VerifiedChain } from '../certificates/chain.ts'
import { hexOf } from '../checks.ts'
import type { Decoded, Fields } from '../examination.ts'
import { hexOrZeros, holds, open, type PageSection, row, type Voucher } from '../page.ts'
import type { PcrBank, TpmQuote } from './quote.ts'
import type { ParsedTpmQuotes, VerifiedTpmQuotes } from './verified.ts'

/**
 * Fields by the names of TPMS_ATTEST (TPM 2.0 Part 2) in lower case; bytes in hex, the clock in milliseconds. Never
 * throws.
 */
export function describeTpmQuotes(
  { attests, quotes }: ParsedTpmQuotes,
  verified?: VerifiedTpmQuotes,
): Decoded {
  const several = attests.length > 1
  return {
    fields: {
      quotes: attests.map((attest, index) => quoteFields(attest, quotes[index])),
      ...(verified && { pcrs: banksFields(verified.pcrs), ak: verified.akId }),
      ...(verified?.ekName && { ek_name: hexOf(verified.ekName) }),
    },
    page: {
      title: several ? `${attests.length} TPM quotes` : 'TPM quote',
      says: [
        ...attests.map((attest, index) => quoteSection(attest, several ? `Quote ${index + 1}` : 'The TPM')),
        ...(verified ? verified.pcrs.map(bankSection) : []),
      ],
      vouchedBy: verified ? vouchers(verified) : [],
    },
  }
}

const bankName = ({ algorithm }: PcrSelection): string =>
  hashAlgorithm(algorithm)?.name ?? `0x${algorithm.toString(16)}`

/** TPMS_ATTEST by the specification's names. */
function quoteFields(attest: Attest, quote: TpmQuote | undefined): Fields {
  const { clockInfo } = attest
  return {
    type: attest.type,
    extra_data: hexOf(attest.extraData),
    qualified_signer: hexOf(attest.qualifiedSigner),
    clock: `0x${clockInfo.clock.toString(16)}`,
    ...{ reset_count: clockInfo.resetCount, restart_count: clockInfo.restartCount, safe: clockInfo.safe },
    firmware_version: `0x${attest.firmwareVersion.toString(16)}`,
    ...(attest.quote && {
      pcr_select: Object.fromEntries(attest.quote.selections.map((each) => [bankName(each), each.pcrs])),
      pcr_digest: hexOf(attest.quote.pcrDigest),
    }),
    ...(quote && { signature_scheme: quote.signature.scheme, signature_hash: quote.signature.hash.name }),
  }
}

function banksFields(banks: readonly PcrBank[]): Fields {
  return Object.fromEntries(
    banks.map(({ bank, values }) => [
      bank,
      Object.fromEntries([...values].map(([index, value]) => [index, hexOf(value)])),
    ]),
  )
}

function quoteSection(attest: Attest, title: string): PageSection {
  const { clockInfo } = attest
  const selections = attest.quote?.selections.filter(({ pcrs }) => pcrs.length > 0) ?? []
  return {
    title,
    rows: [
      row('qualifying data', hexOf(attest.extraData) || 'none'),
      ...selections.map((each) => row(`PCRs, ${bankName(each)}`, each.pcrs.join(' '))),
      row(
        'clock',
        `${clockInfo.clock} ms`,
        `${clockInfo.resetCount} resets, ${clockInfo.restartCount} restarts${clockInfo.safe ? '' : '; may have been set back'}`,
      ),
      row('firmware version', `0x${attest.firmwareVersion.toString(16)}`),
    ],
  }
}

function bankSection({ bank, values }: PcrBank): PageSection {
  return {
    title: `PCR values that were signed, ${bank}`,
    rows: runsOf(values).map(({ first, last, text }) =>
      row(first === last ? `PCR ${first}` : `PCR ${first} to ${last}`, text),
    ),
  }
}

interface Run {
  readonly first: number
  readonly last: number
  readonly text: string
}

/** Neighbours that nothing extended as one row: half of the registers say nothing. */
function runsOf(values: PcrBank['values']): readonly Run[] {
  const runs: Run[] = []
  for (const [index, value] of [...values].toSorted(([left], [right]) => left - right)) {
    const text = hexOrZeros(value)
    const before = runs.at(-1)
    if (before?.text === text && before.last === index - 1 && text.startsWith('all '))
      runs.splice(-1, 1, { ...before, last: index })
    else runs.push({ first: index, last: index, text })
  }
  return runs
}

function vouchers({ quotes, akFrom, akId, akChain }: VerifiedTpmQuotes): readonly Voucher[] {
  const restricted = quotes.every(({ akRestricted }) => akRestricted)
  const withValues = quotes.every(({ pcrs }) => pcrs.length > 0)
  return [
    holds(`${akFrom} signed; SHA-256 of the key is ${akId}`),
    ...(akChain ? [revocation(akChain)] : []),
    restricted
      ? holds('the key is restricted: it signs nothing that only looks like a quote')
      : open('whether the key is restricted to what a TPM made: its public area was not given'),
    withValues
      ? holds('the PCR values are those that were signed')
      : open('PCR values: only their digest was signed and given'),
  ]
}

function revocation({ revocationChecked, path }: VerifiedChain): Voucher {
  const text = `revocation: ${revocationChecked} of ${path.length} certificates on no list of their issuer`
  return revocationChecked === path.length ? holds(text) : open(text)
}
