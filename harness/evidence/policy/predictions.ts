/**
 * Registers as they were predicted, a whole guest at a time: a register of one prediction does not go with one of
 * another. Values in place, or a document that `attestbed predict --json` wrote, which somebody else reads before
 * anything is appraised: this room does not know what predicts.
 */
import { z } from 'zod'
import { anyOf, count, hex, SAYS_NOTHING, saysSomething } from './values.ts'

/** Bytes of a digest, by bank: TPM 2.0 Part 2, TPM_ALG_ID. */
export const PCR_BANKS = { sha1: 20, sha256: 32, sha384: 48, sha512: 64 } as const
/** A bank that a policy may name: TPM 2.0 Part 2, TPM_ALG_ID. */
export type PcrBank = keyof typeof PCR_BANKS

const document = z.string().min(1).describe('what predict --json wrote; relative to the policy file')

/** Registers of a TD, 48 bytes each: Intel TDX module ABI, TDREPORT. */
export const TD_REGISTERS = ['mrtd', 'rtmr0', 'rtmr1', 'rtmr2', 'rtmr3'] as const
/** One of them: Intel TDX module ABI, TDREPORT. */
export type TdRegister = (typeof TD_REGISTERS)[number]

const tdRegister = hex(48).optional()
/** `tdx.predictions`: values of 48 bytes in hex, or a document. */
export const tdPredictions = anyOf(
  z.union([
    z
      .strictObject({
        mrtd: tdRegister,
        rtmr0: tdRegister,
        rtmr1: tdRegister,
        rtmr2: tdRegister,
        rtmr3: tdRegister,
      })
      .refine(saysSomething, SAYS_NOTHING),
    z.strictObject({
      file: document,
      registers: anyOf(z.enum(TD_REGISTERS)).optional().describe('default: all, and none may be unknown'),
    }),
  ]),
)
  .optional()
  .describe('all registers of one of these guests')

/** As a key of YAML, in quotes: "0" to "23" (TCG PC Client PTP). */
export const PCR_NUMBER = z.string().regex(/^(?:[0-9]|1[0-9]|2[0-3])$/, 'a PCR is 0 to 23')
const bankOf = (bytes: number) =>
  z.record(PCR_NUMBER, hex(bytes)).refine(saysSomething, SAYS_NOTHING).optional()
/** `tpm.predictions`: values as long as their bank in hex, or a document. */
export const pcrPredictions = anyOf(
  z.union([
    z
      .strictObject({
        ...{ sha1: bankOf(PCR_BANKS.sha1), sha256: bankOf(PCR_BANKS.sha256) },
        ...{ sha384: bankOf(PCR_BANKS.sha384), sha512: bankOf(PCR_BANKS.sha512) },
      })
      .refine(saysSomething, SAYS_NOTHING),
    z.strictObject({
      file: document,
      pcrs: anyOf(count.max(23)).optional().describe('default: all, and none may be unknown'),
    }),
  ]),
)
  .optional()
  .describe('all PCRs of one of these boots, in every bank that is named')
