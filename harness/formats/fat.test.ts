import t from 'tap'
import { refuses, refusesTruncation, survivesChangedBytes } from '../base/testing/refusals.ts'
import { parseFat } from './fat.ts'
import { FatImage, type FatShape } from './testing/fat-volume.ts'

const DIRECTORY = 0x10
const LONG = 'vmlinuz-6.12.0-cloud-ämd64 slot B+2-1.efi'
const SHAPES: readonly FatShape[] = [
  { type: 'FAT12', clusters: 12 },
  { type: 'FAT16', clusters: 4085 },
  { type: 'FAT32', clusters: 65525 },
]

/** `EFI/Linux/<LONG>` of 700 bytes in two pieces, `EFI/a.efi` of none, and what is no file. */
function volume(shape: FatShape): FatImage {
  const image = new FatImage(shape)
  image.directory(image.rootAt, [
    { name: 'ESP', attributes: 0x08 },
    { name: '\xe5ONE    EFI', first: 3, size: 9 },
    { name: 'EFI', attributes: DIRECTORY, first: 3 },
  ])
  image.chain([3])
  image.directory(image.clusterAt(3), [
    { name: '.', attributes: DIRECTORY, first: 3 },
    { name: '..', attributes: DIRECTORY },
    { name: 'LINUX', attributes: DIRECTORY, first: 4, longName: 'Linux' },
    { name: 'A       EFI', caseFlags: 0x18 },
  ])
  image.chain([4])
  image.directory(image.clusterAt(4), [{ name: 'VMLINU~1EFI', first: 7, size: 700, longName: LONG }])
  image.chain([7, 5])
  image.bytes.fill('x', image.clusterAt(7), image.clusterAt(7) + 512)
  image.bytes.fill('y', image.clusterAt(5), image.clusterAt(5) + 512)
  return image
}

for (const shape of SHAPES)
  t.test(`${shape.type}: directories, long names and files in pieces are read`, async (t) => {
    const fat = parseFat(volume(shape).bytes)
    t.equal(fat.type, shape.type)
    t.strictSame(
      fat.entries.map(({ path, kind, size }) => [path, kind, size]),
      [
        ['EFI', 'directory', 0],
        ['EFI/Linux', 'directory', 0],
        ['EFI/a.efi', 'file', 0],
        [`EFI/Linux/${LONG}`, 'file', 700],
      ],
    )
    t.equal(fat.read(`efi/LINUX/${LONG}`).toString(), 'x'.repeat(512) + 'y'.repeat(188))
    t.equal(fat.read('EFI/A.EFI').length, 0)
    // Clusters 3, 4, 5 and 7 are in use; FAT32 keeps its root in one too.
    t.equal(fat.freeBytes, (shape.clusters - (shape.type === 'FAT32' ? 5 : 4)) * 512)
    refuses(t, () => fat.read('EFI/Linux'), 'bad-value')
    refuses(t, () => fat.read('EFI/absent'), 'bad-value')
  })

const small: FatShape = { type: 'FAT12', clusters: 12 }
const nameIn = (entry: Parameters<FatImage['directory']>[1]) => {
  const image = new FatImage(small)
  image.directory(image.rootAt, entry)
  return parseFat(image.bytes).entries.map(({ path }) => path)
}

t.test('a long name that is not whole, or not of its entry, gives way to the short one', async (t) => {
  t.strictSame(nameIn([{ name: 'A       EFI', longName: 'long.efi', checksum: 1 }]), ['A.EFI'])
  const image = new FatImage(small)
  image.directory(image.rootAt, [{ name: 'A       EFI', longName: 'a name of two pieces' }])
  image.bytes.writeUInt8(0xe5, image.rootAt)
  t.strictSame(
    parseFat(image.bytes).entries.map(({ path }) => path),
    ['A.EFI'],
  )
})

t.test('a name from the disk cannot look like another path', async (t) => {
  t.strictSame(nameIn([{ name: 'X', longName: '../../etc/passwd' }]), ['..\ufffd..\ufffdetc\ufffdpasswd'])
  t.strictSame(nameIn([{ name: 'A\\B' }]), ['A\ufffdB'])
  t.strictSame(nameIn([{ name: '\x05X' }]), ['\xe5X'])
})

t.test('what is no FAT volume is refused, with the offset that says so', async (t) => {
  const good = volume(small).bytes
  refusesTruncation(t, good, parseFat)
  survivesChangedBytes(t, good, (bytes) => parseFat(bytes).read(`EFI/Linux/${LONG}`))
  const wrong = (at: number, value: number, field: string) => {
    const bytes = Buffer.from(good)
    bytes.writeUInt16LE(value, at)
    refuses(t, () => parseFat(bytes), at === 510 ? 'bad-magic' : 'bad-value', field)
  }
  wrong(510, 0, 'Signature_word')
  wrong(11, 500, 'BPB_BytsPerSec')
  wrong(13, 0x0103, 'BPB_SecPerClus')
  wrong(14, 0, 'BPB_RsvdSecCnt')
  wrong(16, 0x1000, 'BPB_NumFATs')
  wrong(22, 0, 'BPB_FATSz32')
  wrong(32, 3, 'BPB_TotSec32')
  wrong(17, 0, 'BPB_RootEntCnt')
  const short = new FatImage({ type: 'FAT16', clusters: 4085 })
  short.bytes.writeUInt16LE(2, 22)
  refuses(t, () => parseFat(short.bytes), 'bad-value', 'BPB_FATSz32')
})

t.test('chains that lead outside, in circles or end too early are refused', async (t) => {
  const broken = (change: (image: FatImage) => void) => () => {
    const image = volume(small)
    change(image)
    parseFat(image.bytes).read(`EFI/Linux/${LONG}`)
  }
  const changes: readonly (readonly [string, (image: FatImage) => void])[] = [
    ['bad-value', (image) => image.chain([7, 99])],
    ['bad-value', (image) => image.chain([7], 7)],
    ['truncated', (image) => image.chain([7])],
    ['bad-value', (image) => image.setEntry(7, 0)],
    ['bad-value', (image) => image.chain([4], 4)],
    // EFI/Linux is its own parent, then shares a cluster with it.
    ['bad-value', (image) => image.bytes.writeUInt16LE(3, image.clusterAt(3) + 96 + 26)],
    ['bad-value', (image) => image.chain([4], 3)],
  ]
  for (const [code, change] of changes) refuses(t, broken(change), code as 'bad-value')
  t.doesNotThrow(
    broken((image) => image.chain([7, 5, 8])),
    'more clusters than the size needs are no error',
  )
})

t.test('a directory that is not in order is listed as empty where that is asked for', async (t) => {
  const image = volume(small)
  image.chain([4], 4)
  refuses(t, () => parseFat(image.bytes), 'bad-value', 'EFI/Linux')
  const fat = parseFat(image.bytes, { brokenDirectories: 'list' })
  t.strictSame(
    fat.entries.map(({ path, problem }) => [path, problem !== undefined]),
    [
      ['EFI', false],
      ['EFI/Linux', true],
      ['EFI/a.efi', false],
    ],
  )
  t.match(fat.find('EFI/Linux')?.problem, /leads to cluster 4/)
  refuses(t, () => fat.extents('EFI/Linux'), 'bad-value', 'EFI/Linux')
  survivesChangedBytes(t, volume(small).bytes, (bytes) => parseFat(bytes, { brokenDirectories: 'list' }))
})
