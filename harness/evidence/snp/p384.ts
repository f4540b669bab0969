/** NIST P-384: FIPS 186-5, and SP 800-186, "P-384". */

/** The order n of the base point, 48 bytes big-endian. */
const ORDER = Buffer.from(
  'ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973',
  'hex',
)

/**
 * Whether 48 big-endian bytes are a number from 1 to n - 1, as both components of a signature must be. FIPS 186-5,
 * 6.4.2. Never throws.
 */
export function inOrder(component: Uint8Array): boolean {
  return (
    component.length === ORDER.length &&
    Buffer.compare(component, ORDER) < 0 &&
    component.some((byte) => byte !== 0)
  )
}
