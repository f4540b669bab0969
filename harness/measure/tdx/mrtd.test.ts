import t from 'tap'
import { FormatError } from '../../base/errors.ts'
import { vectorsMissing, vectorText } from '../../base/testing/vectors.ts'
import { firmwareBuild } from '../testing/firmware-builds.ts'
import { predictMrtd } from './mrtd.ts'

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
