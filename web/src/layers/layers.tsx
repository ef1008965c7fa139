export function Layers() {
  return <p>Layers</p>;
}
