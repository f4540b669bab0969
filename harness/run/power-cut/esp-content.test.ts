import t from 'tap'
import { FatImage } from '../../formats/testing/fat-volume.ts'
import { EspContent } from './esp-content.ts'

const DIRECTORY = 0x10
const SECTOR = 512

/** `EFI/A.EFI`, and in `EFI/X` the files `B.CRE` and `C.RAW` under their long names. */
function esp(): FatImage {
  const image = new FatImage({ type: 'FAT12', clusters: 12 })
  image.directory(image.rootAt, [{ name: 'EFI', attributes: DIRECTORY, first: 3 }])
  image.directory(image.clusterAt(3), [
    { name: 'X', attributes: DIRECTORY, first: 4 },
    { name: 'A       EFI', first: 5, size: 100 },
  ])
  image.directory(image.clusterAt(4), [
    { name: 'B       CRE', first: 6, size: 100, longName: 'b.cred' },
    { name: 'C       RAW', first: 7, size: 100 },
    { name: 'D       TXT', first: 8, size: 100 },
  ])
  for (const cluster of [3, 4, 5, 6, 7, 8]) image.chain([cluster])
  return image
}

/** The key after a change, told of it and from scratch: they are equal. */
function keyAfter(
  t: Tap,
  place: { offset: number; size: number },
  change: (image: FatImage) => void,
): string {
  const image = esp()
  const content = new EspContent(image.bytes)
  change(image)
  content.changed(place)
  t.equal(content.view.key, new EspContent(image.bytes).view.key)
  return content.view.key
}
type Tap = Pick<typeof t, 'equal'>

t.test('credentials and extensions count as what a boot reads, other files by their size', async (t) => {
  const before = new EspContent(esp().bytes).view.key
  const written = (cluster: number) => {
    const offset = esp().clusterAt(cluster)
    return keyAfter(t, { offset, size: SECTOR }, (image) => image.bytes.fill('x', offset, offset + 10))
  }
  t.equal(new Set([before, written(5), written(6), written(7)]).size, 4)
  t.equal(written(8), before)
})

t.test('one directory that cannot be read does not make two volumes one', async (t) => {
  const table = { offset: esp().fatAt, size: SECTOR }
  const circle = (image: FatImage) => image.chain([4], 4)
  const image = esp()
  circle(image)
  const { files, problem } = new EspContent(image.bytes).view
  t.equal(problem, undefined)
  t.strictSame([...files.keys()], ['EFI', 'EFI/X', 'EFI/A.EFI'])
  t.equal(files.get('EFI/X'), 'unreadable')
  const other = keyAfter(t, { offset: 0, size: esp().bytes.length }, (changed) => {
    circle(changed)
    changed.bytes.fill('x', changed.clusterAt(5), changed.clusterAt(5) + 10)
  })
  t.not(keyAfter(t, table, circle), other)
})

t.test('volumes that cannot be read at all are told apart by their tables', async (t) => {
  const whole = { offset: 0, size: esp().bytes.length }
  const broken = (change: (image: FatImage) => void) =>
    keyAfter(t, whole, (image) => {
      image.bytes.writeUInt16LE(500, 11)
      change(image)
    })
  t.not(
    broken(() => {}),
    broken((image) => image.chain([5, 9])),
  )
})
