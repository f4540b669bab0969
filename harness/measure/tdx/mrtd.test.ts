import { createHash } from 'node:crypto'
import t from 'tap'
import { FormatError } from '../../base/errors.ts'
import { vectorsMissing, vectorText } from '../../base/testing/vectors.ts'
import { syntheticOvmf, syntheticTdvf } from '../../formats/testing/synthetic-ovmf.ts'
import { firmwareBuild } from '../testing/firmware-builds.ts'
import { type MrtdPasses, predictMrtd, type TdxRegion } from './mrtd.ts'

/** Computed by google/gce-tcb-verifier and another implementation, which agree. */
interface Vectors {
  readonly firmware: Readonly<
    Record<
      string,
      {
        readonly sha256: string
        readonly mrtd_single_pass: string | null
        readonly mrtd_two_pass: string | null
        readonly error: string | null
      }
    >
  >
}

t.test('MRTD of the vectors', { skip: vectorsMissing }, async (t) => {
  const { firmware }: Vectors = JSON.parse(vectorText('measure/debian_tdx_mrtd.json'))
  for (const [name, expected] of Object.entries(firmware)) {
    const file = firmwareBuild(expected.sha256)
    const skip =
      file === undefined && `${name} with SHA-256 ${expected.sha256} is not at hand (see ATTESTBED_FIRMWARE)`
    t.test(name, { skip }, async (t) => {
      if (file === undefined) return
      if (expected.error !== null) {
        t.throws(() => predictMrtd(file), FormatError, expected.error)
        return
      }
      t.equal(predictMrtd(file).mrtd.toString('hex'), expected.mrtd_single_pass, 'single pass')
      t.equal(predictMrtd(file, 'two').mrtd.toString('hex'), expected.mrtd_two_pass, 'two passes')
    })
  }
})

/** The two buffers as the specification's tables have them, written one after the other. */
function byTheBook(regions: readonly TdxRegion[], passes: MrtdPasses): string {
  const sha384 = createHash('sha384')
  const header = (name: string, gpa: number): void => {
    const buffer = Buffer.alloc(128)
    buffer.write(name)
    buffer.writeBigUInt64LE(BigInt(gpa), 16)
    sha384.update(buffer)
  }
  for (const { gpa, size, type, contents } of regions) {
    const data = Buffer.concat([contents, Buffer.alloc(size)], size)
    const extend = (page: number): void => {
      for (let chunk = page; type === 'extended' && chunk < page + 0x1000; chunk += 256) {
        header('MR.EXTEND', gpa + chunk)
        sha384.update(data.subarray(chunk, chunk + 256))
      }
    }
    for (let page = 0; page < size; page += 0x1000) {
      header('MEM.PAGE.ADD', gpa + page)
      if (passes === 'single') extend(page)
    }
    for (let page = 0; passes === 'two' && page < size; page += 0x1000) extend(page)
  }
  return sha384.digest('hex')
}

t.test('MRTD is that of the regions it names, chunk by chunk; shorter contents end in zeros', async (t) => {
  const [bfv, cfv, ...memory] = syntheticTdvf(0x10000, 0x2000)
  if (!bfv || !cfv) return
  const short = { ...bfv, dataSize: bfv.dataSize - 0x1234 }
  const measuredMemory = memory.map((section) => ({ ...section, attributes: 1 }))
  const layouts = [undefined, [short, cfv, ...memory], [bfv, cfv, ...measuredMemory]]
  for (const tdvf of layouts)
    for (const passes of ['single', 'two'] as const) {
      const file = syntheticOvmf({ size: 0x10000, content: 'varied', ...(tdvf && { tdvf }) })
      const { mrtd, regions } = predictMrtd(file, passes)
      t.equal(regions.length, 6)
      t.equal(mrtd.toString('hex'), byTheBook(regions, passes), passes)
    }
})

t.test('pages that the guest adds itself are not measured', async (t) => {
  const [bfv, cfv, temp, ...rest] = syntheticTdvf(0x10000, 0x2000)
  if (!bfv || !cfv || !temp) return
  const mrtd = (...tdvf: readonly (typeof bfv)[]) =>
    predictMrtd(syntheticOvmf({ size: 0x10000, tdvf })).regions.map(({ gpa }) => gpa)
  const augmented = { ...temp, attributes: 2 }
  t.same(
    mrtd(bfv, cfv, augmented, ...rest),
    [bfv, cfv, ...rest].map(({ gpa }) => gpa),
  )
})
