import { UsageError } from '../base/errors.ts'
import type { QemuObject } from '../machine/description.ts'
import { confidential, rebootBy } from './confidential.ts'
import type { HostParameters, PlatformDescriptor } from './descriptor.ts'
import { kvmNeeds } from './kvm.ts'
import { bitsOf, fixedBase64, type LaunchOptions, type NamedBits } from './launch-options.ts'
import { tdxPrediction } from './predicted-launch.ts'
import { given } from './sev-object.ts'

const TDX_ID = 'tdx0'
const CPU = 'host'

/** Intel TDX module ABI, TD attributes, those that QEMU lets an owner choose. */
const ATTRIBUTES: NamedBits = {
  debug: 1n << 0n,
  'sept-ve-disable': 1n << 28n,
  pks: 1n << 30n,
}
/** QEMU has a property of its own for it, which is on by default. */
const SEPT_VE_DISABLE = 'sept-ve-disable'

export const tdx: PlatformDescriptor = {
  id: 'tdx',
  title: 'Intel TDX',
  basis: 'hardware',
  needs: [
    // kvm_intel's parameter is the proof; the CPU itself does not say it in every kernel.
    { fact: 'cpu-tdx', why: 'the CPU must have TDX', unknownIsEnough: true },
    ...kvmNeeds,
    { fact: 'kvm-intel-tdx', why: 'kvm_intel must offer TDX' },
    { fact: 'tdx-key-ids', why: 'a key id must be left for a trust domain', unknownIsEnough: true },
    { fact: 'qemu-tdx', why: 'QEMU must know tdx-guest' },
  ],
  wants: [
    {
      fact: 'tdx-quote-socket',
      why: 'guests get no quotes: no quote-generation service',
      unknownIsEnough: true,
    },
  ],
  firmwareLoads: ['bios'],
  firmwareFeature: 'tdx',
  qemuSince: [10, 1],
  predictLaunch: tdxPrediction,
  emulation: {
    // The build that measures into RTMRs measures into no TPM, and nothing else is there to be seen by the emulation.
    firmwareFeature: 'tdvf',
    readsVtpm: true,
    standIn: 'stand-in',
    load: async () => (await import('./emulated/tdx-processor.ts')).makeTdxProcessor,
  },
  guestSlot: 'tdx',
  launchOptions: ['cpu', 'mrConfigId', 'mrOwner', 'mrOwnerConfig', 'tdAttributes'],
  reboot: rebootBy,
  apply: (description, host, options = {}) => {
    requireHostCpu(options)
    const base = confidential(description, { platform: tdx, host, options })
    return {
      ...base,
      cpu: options.cpu ?? CPU,
      machineOptions: {
        ...base.machineOptions,
        'kernel-irqchip': 'split',
        'confidential-guest-support': TDX_ID,
        hpet: 'off',
      },
      objects: [...base.objects, tdxGuest(host, options)],
    }
  },
}

/** The TDX module gives a trust domain the processor that there is; QEMU refuses models. */
function requireHostCpu({ cpu = CPU }: LaunchOptions): void {
  if (cpu === CPU || cpu.startsWith(`${CPU},`)) return
  throw new UsageError(`cannot launch tdx with CPU model "${cpu}": only "host" is possible`, {
    code: 'bad-value',
  })
}

function tdxGuest({ quoteSocket }: HostParameters, options: LaunchOptions): QemuObject {
  const { mrConfigId, mrOwner, mrOwnerConfig, tdAttributes } = options
  return {
    ...{ 'qom-type': 'tdx-guest', id: TDX_ID },
    ...given({
      'quote-generation-socket': quoteSocket,
      mrconfigid: fixedBase64('MRCONFIGID', mrConfigId, 48),
      mrowner: fixedBase64('MROWNER', mrOwner, 48),
      mrownerconfig: fixedBase64('MROWNERCONFIG', mrOwnerConfig, 48),
      ...(tdAttributes && attributeProperties(tdAttributes)),
    }),
  }
}

function attributeProperties(names: readonly string[]): Readonly<Record<string, unknown>> {
  const bits = bitsOf('TDATTRIBUTES', names, ATTRIBUTES)
  return { attributes: Number(bits), [SEPT_VE_DISABLE]: names.includes(SEPT_VE_DISABLE) }
}
