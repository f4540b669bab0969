/** What must never happen: something was believed that nobody signed, or accepted that is not so. */
export class Forgery extends Error {
  override readonly name = 'Forgery'
}
