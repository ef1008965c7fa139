export function Tokens() {
  return <p>Tokens</p>;
}
