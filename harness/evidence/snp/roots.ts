/**
 * AMD's roots for SNP, pinned by their whole public keys: an ARK a product line, RSA 4096, from AMD's key service
 * (`/vcek/v1/{product}/cert_chain`). The keys were taken from certificates published by AMD's service and compared with
 * two further projects that pin them; SHA-256 of SubjectPublicKeyInfo, for whoever wants to compare again:
 *
 *   ARK-Milan  9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9
 *   ARK-Genoa  429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831
 *   ARK-Turin  4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08
 *
 * The same ARK certifies the ASK, which signs VCEKs, and the ASVK, which signs VLEKs.
 */
import { sha256Hex } from '../../base/digest.ts'
import { DerReader } from '../../formats/der.ts'
import { parsePublicKeyInfo } from '../../formats/public-key-info.ts'
import { SNP_PRODUCTS, type SnpProduct } from '../../formats/snp/tcb.ts'
import type { Certificate } from '../../formats/x509.ts'
import { type TrustAnchor, trustAnchor } from '../certificates/chain.ts'

/** The root of one product line: an ARK (AMD 57230). */
export interface SnpRoot {
  readonly anchor: TrustAnchor
  /** Whose processors it vouches for; it decides the layout of the TCB. */
  readonly product: SnpProduct
  /** Not one of AMD's: no default policy accepts it. */
  readonly simulated: boolean
  /** SHA-256 of SubjectPublicKeyInfo, lower-case hex: what a policy names. */
  readonly keyId: string
}

/** As roots, intermediates and leaves of a line spell it. AMD 57230, product names. */
export const LINE_NAMES = { milan: 'Milan', genoa: 'Genoa', turin: 'Turin' } as const satisfies Record<
  SnpProduct,
  string
>

const VALIDITY: Readonly<Record<SnpProduct, readonly [string, string]>> = {
  milan: ['2020-10-22T17:23:05Z', '2045-10-22T17:23:05Z'],
  genoa: ['2022-01-26T15:34:37Z', '2047-01-26T15:34:37Z'],
  turin: ['2023-05-15T20:03:12Z', '2048-05-15T20:03:12Z'],
}

/** SubjectPublicKeyInfo, DER, base64. */
const KEYS: Readonly<Record<SnpProduct, string>> = {
  milan:
    'MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEA0Ld52RJOdeiJlqK2JdsVmD7FktuotWwX1fNgW41XY9Xz1HEhSUmhLz9C' +
    'u9DHRlvgJSNxbeYYsnJfvyjx1MfU0V5tkKiU1EesNFta1kTA0szNisdYc9isqk7mXT5+KfGRbfc4V/9zRIcE8jlHN61S1ju8X93+' +
    '6dxDUrG2SzxqJ4BhqyYmUDruPXJSX4vUc01P7j98MpqOS95rORdGHeI52Naz5m2B+O+vjsC060d37jY9LFeuOP4Meri8qgfi2S5k' +
    'Kqg/aF6aPtuAZQVR7u3KFYXP59XmJgtcog05gmI0T/OitLhuzVvpZcLph0odh/1IPXqx3+MnjD97A7fXpqGd/y8KxX7jksTEzAOg' +
    'bKAeam3lm+3yKIcTYMlsRMXPcjNbIvmsBykD//xSniusuHBkgnlENEWx1UcbQQrs+gVDkuVPhsnzIRNgYvM48Y+7LGiJYnrmE8xc' +
    'rexekBxrva2V9TJQqnN3Q53kt5viQi3+gCfmkwC0F0tirIZbLkXPrPwzZ0M9eNxhIySb2npJfgnqz55I0u33wh4r0ZNQeTGfw03M' +
    'BUtyuzGesGkcw+loqMaq1qR4tjGbPYxCvpCq7+OgpCCoMNit2uLo9M18fHz10lOMT8nWAUvRZFzteXCm+7PHdYPlmQwUw3LvenJ/' +
    'ILXoQPHfbkH0CyPfhl1jWhJFZasCAwEAAQ==',
  genoa:
    'MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEA3Cd95S/uFOuRIskW9vz9VDBF69NDQF79oRhL/L2PVQGhK3YdfEBgpF/J' +
    'iwWFBsT/fXDhzA01p3LkcT/7LdjcRfKXjHl+0Qq/M4dZkh6QDoUeKzNBLDcBKDDGWo3v35NyrxbA1DnkYwUKU5AAk4P94tKXLp80' +
    'oxt84ahyHoLmc/LqsGsp+oq1Bz4PPsYLwTG4iMKVaaT90/oZ4I8oibSru92vJhlqWO27d/Rxc3iUMyhNeGToOvgx/iUo4gGpG61N' +
    'DpkEUvIzuKcaMx8IdTpWg2DF6SwF0IgVMffnvtJmA68BwJNWo1E4PLJdaPfBifcJpuBFwNVQIPQEVX3aP89HJSp8YbY9lySS6PlV' +
    'EqTBBtaQmi4ATGmMR+n2K/e+JAhU2Gj7jIpJhOkdH9firQDnmlA2SFfJ/Cc0mGNzW9RmIhyOUnNFoclmkRhl3/AQU5Ys9Qsan1jT' +
    '/EiyT+pCpmnA+y9edvhDCbOG8F2oxHGRdTBkylungrkXJGYiwGrR8kaiqv7NN8QhOBMqYjcbrkEr0f8QMKklIS5ruOfqlLMCBw8J' +
    'LB3LkjpWgtD7OpxkzSsohN47Uom86RY6lp72g8eXHP1qYrnvhzaG1S70vw6OkbaaC9EjiH/uHgAJQGxon7u0Q7xgoREWA/e7JcBQ' +
    'wLg80Hq/sbRuqesxz7wBWSY254cCAwEAAQ==',
  turin:
    'MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEAwaAriB7EIuVc4ZB1wD3YfDxL+9eyS7+izm0Jj3W772NINCWl8Bj3w/JD' +
    '2ZjmbRxWdIq/4d9iarCKorXloJUB1jRdgxqccTx1aOoig4+2w1XhVVJT7K457wT5ZLNJgQaxqa9Etkwjd6+9sOhlCDE9l43kQ0R2' +
    'BikVJa/uyyVOSwEk5w5tXKOuG9jvq6QtAMJasW38wlqRDaKEGtZ9VUgGon27ZuL4sTJuC/azz9/iQBw8kEilzOl95AiTkeY5jSEB' +
    'DWbAqnZk5qlM7kISKG20kgQm14mhNKDI2p2oua+zuAG7i52epoRF2GfU0TYk/yf+vCNB2tnechFQuP2e8bLk95ZdqPi9/UWw4JXj' +
    'tdEA4u2JYplSSUPQVAXKt6LVqujtJcM59JKr2u0XQ75KwxcMp15gSXhBfInvPAwuAY4dEwwGqT8oIg4esPHwEsmChhYeDIxPG9R4' +
    'fx9O0q6p8Gb+HXlTiS47P9YNeOpidOUKzDl/S1OvyhDtSL8LJc24QATFydo/iD/KUdvFTRlD0crkAMkZLoWQ8hLDGc6BZJXsdd7Z' +
    'f2e4UW3tI/1oh/2t23Ot3zyhTcv5gDbABu0LjVe98uRnS15SMwK//lJt9e5BqKvgABkSoABf+B4VFtPVEX0ygrYaFaI9i5ABrxnV' +
    'BmzXpRb21iI1NlNCfOGUPIhVpWECAwEAAQ==',
}

/** DER of the subject up to the common name's value: OU, C, L, ST, O as AMD writes them, every ARK alike. */
const SUBJECT_START =
  '307b31143012060355040b0c0b456e67696e656572696e67310b3009060355040613025553311430120603550407' +
  '0c0b53616e746120436c617261310b300906035504080c024341311f301d060355040a0c16416476616e636564' +
  '204d6963726f20446576696365733112301006035504030c09'

function amdRoot(product: SnpProduct): SnpRoot {
  const label = `ARK-${LINE_NAMES[product]}`
  const spki = Buffer.from(KEYS[product], 'base64')
  const [notBefore, notAfter] = VALIDITY[product]
  const anchor: TrustAnchor = {
    label: `AMD ${label}`,
    name: Buffer.concat([Buffer.from(SUBJECT_START, 'hex'), Buffer.from(label)]),
    publicKey: parsePublicKeyInfo(new DerReader(spki, { what: 'pinned key' })),
    notBefore: new Date(notBefore),
    notAfter: new Date(notAfter),
  }
  return { anchor, product, simulated: false, keyId: sha256Hex(spki) }
}

/** ARK-Milan, ARK-Genoa, ARK-Turin: RSA keys of 4096 bits, pinned. AMD 57230, chapter 2. */
export const AMD_ROOTS: readonly SnpRoot[] = SNP_PRODUCTS.map(amdRoot)

/**
 * A root of the user's own, for a simulated processor. Throws VerifyError where the certificate is no self-signed
 * authority's. AMD 57230, chapter 2.
 */
export function simulatedSnpRoot(certificate: Certificate, product: SnpProduct): SnpRoot {
  const anchor = trustAnchor(certificate, `simulated root for ${LINE_NAMES[product]}`)
  return { anchor, product, simulated: true, keyId: sha256Hex(anchor.publicKey.raw) }
}
