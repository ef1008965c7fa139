export function Attention() {
  return <p>Attention</p>;
}
