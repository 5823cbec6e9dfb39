// Sorts the table by a click on a head, shows the rows that contain every word of the search, and keeps both in the URL's
// fragment: #sort=-calls&search=vfs (the minus: largest first).
(() => {
  const table = document.getElementById("rows");
  if (!table) return;
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells], rows = [...body.rows];
  const search = document.getElementById("search"), count = document.getElementById("n");

  const value = (row, n) => {
    const cell = row.cells[n];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
  };
  // Numbers before texts; what is equal keeps its order.
  const compare = (a, b) =>
    typeof a === "string" && typeof b === "string" ? a.localeCompare(b, "en", { numeric: true })
      : typeof a === "number" && typeof b === "number" ? a - b : typeof a === "number" ? -1 : 1;

  const kept = new URLSearchParams(location.hash.slice(1));
  const keep = (name, text) => {
    if (text) kept.set(name, text); else kept.delete(name);
    try { history.replaceState(null, "", `#${kept}`); } catch { /* a page without an address of its own */ }
  };

  const click = (n) => {
    const falls = heads[n].ariaSort ? heads[n].ariaSort === "ascending" : heads[n].className === "number";
    sort(n, falls);
    keep("sort", (falls ? "-" : "") + heads[n].textContent);
  };
  const sort = (n, falls) => {
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[n].ariaSort = falls ? "descending" : "ascending";
    rows.sort((one, other) => {
      const [a, b] = [value(one, n), value(other, n)];
      if (a === "" || b === "") return (a === "") - (b === "");  // empty cells are last in either order
      return (falls ? -1 : 1) * compare(a, b);
    });
    body.append(...rows);
  };
  heads.forEach((head, n) => {
    head.addEventListener("click", () => click(n));
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") click(n); });
  });

  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/);
    const shown = rows.filter((row) => {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      return !row.hidden;
    });
    count.textContent = `${shown.length} of ${rows.length} rows`;
  };
  search.addEventListener("input", () => { show(); keep("search", search.value); });
  const by = kept.get("sort") ?? "", column = heads.findIndex((head) => head.textContent === by.replace(/^-/, ""));
  if (column >= 0) sort(column, by.startsWith("-"));
  search.value = kept.get("search") ?? "";
  show();
})();
