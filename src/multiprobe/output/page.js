// Sorts the table by a click on a head, and shows the rows that contain every word of the search.
(() => {
  const table = document.getElementById("rows");
  if (!table) return;
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells], rows = [...body.rows];
  const search = document.getElementById("search"), count = document.getElementById("n");

  const value = (row, n) => {
    const cell = row.cells[n];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));

  const sort = (n) => {
    const falls = heads[n].ariaSort ? heads[n].ariaSort === "ascending" : heads[n].className === "number";
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[n].ariaSort = falls ? "descending" : "ascending";
    rows.sort((one, other) => (falls ? -1 : 1) * compare(value(one, n), value(other, n)));
    body.append(...rows);
  };
  heads.forEach((head, n) => head.addEventListener("click", () => sort(n)));

  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/);
    const shown = rows.filter((row) => {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      return !row.hidden;
    });
    count.textContent = `${shown.length} of ${rows.length} rows`;
  };
  search.addEventListener("input", show);
  show();
})();
