export function Cache() {
  return <p>Cache</p>;
}
