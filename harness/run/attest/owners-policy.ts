/** What the owner of a VM demands before a key is released: its launch, its UKI, and a processor that is the one it knows. */
import { readFile } from 'node:fs/promises'
import { UsageError } from '../../base/errors.ts'
import type { ReleasePolicy } from '../../broker/index.ts'
import type { ResolvedPolicy, ResolvedTdxPolicy } from '../../evidence/policy/resolve.ts'
import { authenticodeDigest } from '../../formats/authenticode.ts'
import { parseUki } from '../../formats/uki.ts'
import { foldEvents } from '../../measure/tpm/registers.ts'
import { phaseEvents, sectionEvents } from '../../measure/tpm/stub.ts'
import type { EndorsementFault } from '../../platforms/emulated/processor.ts'
import type { ScenarioVm } from '../vm.ts'
import { expectDiskBoot } from './disk-boot.ts'

export interface OwnersWishes {
  /** What is wrong with what the owner has of endorsements. */
  readonly endorsements?: readonly EndorsementFault[]
  /** `default`: the policy names no simulated root, as nobody's in production does. */
  readonly trust?: 'default'
  /**
   * The quote of a vTPM has to show the UKI (PCR 11, in the initrd) and that nothing was added to its command line (PCR 12);
   * absent: evidence of the TEE alone is enough.
   */
  readonly vtpm?: 'required'
  /**
   * What the logs that the guest sends must say, as far as the registers of its quote cover them: `this-boot`: this UKI and
   * nothing else was loaded, and the initrd entered; `secure-boot`: it was on. Absent: nobody looks at them.
   */
  readonly log?: 'this-boot' | 'secure-boot'
  /**
   * The vTPM is believed about the software: of the TEE's evidence the policy asks neither for a launch digest with kernel
   * hashes (SNP) nor for RTMRs (TDX).
   */
  readonly software?: 'by-vtpm'
  /**
   * The firmware boots the VM's disk, which lies there as its owner made it: PCR 7, 11 and 12, the log, and RTMR1 of a TD are
   * those of the UKI and the addons on it; absent: QEMU brings the UKI.
   */
  readonly boot?: 'from-disk'
  /** With `from-disk`: the owner does not ask what lies beside the UKI, neither PCR 12 nor what else shows it. */
  readonly addons?: 'any'
  /** TDX: the only version of quotes that is taken; absent: any. */
  readonly quoteVersion?: 4 | 5
  /** The resource is encrypted to the vTPM as well. */
  readonly delivery?: ReleasePolicy['delivery']
}

/** TCB of a processor that is up to date, as the emulated one is. */
const MINIMUM_TCB = { bootloader: 4, snp: 24, microcode: 219 }
const ZERO_PCR = '00'.repeat(32)

/** From the materials of the VM as they are now. Throws UsageError `bad-scenario` where it runs on no TEE. */
export async function ownersPolicy(vm: ScenarioVm, wishes: OwnersWishes = {}): Promise<ReleasePolicy> {
  const { tee } = vm
  const { certificates, crls, collateral, simulatedRoot } = tee.endorsements(...(wishes.endorsements ?? []))
  const named = simulatedRoot !== undefined && wishes.trust !== 'default'
  return {
    policy: {
      ...(await (wishes.boot === 'from-disk' ? diskPolicy(vm, wishes) : directPolicy(vm, wishes))),
      ...(named && { simulatedRoots: [simulatedRoot] }),
    },
    ...{ certificates, crls, collateral },
    ...(wishes.delivery && { delivery: wishes.delivery }),
  }
}

async function directPolicy(vm: ScenarioVm, wishes: OwnersWishes): Promise<ResolvedPolicy> {
  const registers = wishes.software === undefined ? await vm.tee.expectedRegisters() : undefined
  return {
    ...(await platformPolicy(vm, { ...wishes, registers })),
    ...(wishes.log && { eventLog: await logPolicy(vm, wishes.log) }),
    ...(wishes.vtpm && { tpm: { pcrs: { sha256: { 11: [await pcr11InInitrd(vm)], 12: [ZERO_PCR] } } } }),
  }
}

/** Launch digest and MRTD are of the firmware alone: all else is the vTPM's word, and on TDX that of a register. */
async function diskPolicy(vm: ScenarioVm, wishes: OwnersWishes): Promise<ResolvedPolicy> {
  const { pcrs, rtmrs, log } = await expectDiskBoot(vm)
  if (wishes.addons === 'any') {
    const { 12: _, ...others } = pcrs
    return { ...(await platformPolicy(vm, wishes)), tpm: { pcrs: { sha256: others } } }
  }
  return {
    ...(await platformPolicy(vm, { ...wishes, registers: rtmrs })),
    ...(wishes.log && { eventLog: wishes.log === 'secure-boot' ? { secureBoot: 'on' } : log }),
    ...(wishes.vtpm && { tpm: { pcrs: { sha256: pcrs } } }),
  }
}

async function platformPolicy(
  { tee }: ScenarioVm,
  {
    quoteVersion,
    software,
    registers,
  }: OwnersWishes & { readonly registers?: Pick<ResolvedTdxPolicy, 'rtmr1' | 'rtmr2'> | undefined },
): Promise<Pick<ResolvedPolicy, 'snp' | 'tdx' | 'revocation'>> {
  const digest = await tee.expectedDigest()
  if (tee.platform === 'tdx')
    return {
      revocation: 'required',
      tdx: {
        mrtd: [digest],
        ...registers,
        ...(tee.chip !== undefined && { fmspcs: [tee.chip] }),
        ...(quoteVersion !== undefined && { quoteVersions: [quoteVersion] }),
      },
    }
  return {
    revocation: 'required',
    snp: {
      ...(software === undefined && { launchDigests: [digest] }),
      ...{ signingKeys: ['vcek'], minimumReportedTcb: { genoa: MINIMUM_TCB } },
      ...(tee.chip !== undefined && { chipIds: [tee.chip] }),
    },
  }
}

async function logPolicy(
  vm: ScenarioVm,
  log: NonNullable<OwnersWishes['log']>,
): Promise<NonNullable<ResolvedPolicy['eventLog']>> {
  if (log === 'secure-boot') return { secureBoot: 'on' }
  const digest = authenticodeDigest(await ukiOf(vm), 'sha256').toString('hex')
  return { images: [digest], addons: 'forbidden', phases: ['enter-initrd'], exitBootServices: 'required' }
}

/** Of the VM's UKI, when systemd-pcrextend has said that the initrd is entered. SHA-256, hex. */
async function pcr11InInitrd(vm: ScenarioVm): Promise<string> {
  const uki = parseUki(await ukiOf(vm))
  const register = foldEvents(11, [...sectionEvents(uki), ...phaseEvents(['enter-initrd'])], 'sha256')
  if (register.known) return register.value.toString('hex')
  throw new UsageError(`PCR 11 of VM ${vm.name} cannot be predicted: ${register.reasons.join(', ')}`, {
    code: 'bad-scenario',
  })
}

async function ukiOf({ disk, name }: ScenarioVm): Promise<Buffer> {
  if (disk.uki) return readFile(disk.uki.current().file)
  throw new UsageError(`the UKI of VM ${name} is not ours`, { code: 'bad-scenario' })
}
