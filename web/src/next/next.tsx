export function Next() {
  return <p>Next</p>;
}
