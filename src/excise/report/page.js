// Sorting: rows of a table's first body by the column whose button was pressed; what was not measured stays last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") !== "descending" && column > 0 || head.getAttribute("aria-sort") === "ascending";
    for (const other of heads) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const cell = row => row.cells[column], number = row => parseFloat(cell(row).dataset.v);
    const numeric = [...body.rows].some(row => !Number.isNaN(number(row)));
    const order = (one, other) => numeric
      ? Number.isNaN(number(one)) - Number.isNaN(number(other)) || (down ? number(other) - number(one) : number(one) - number(other)) || 0
      : (down ? -1 : 1) * cell(one).textContent.localeCompare(cell(other).textContent);
    body.append(...[...body.rows].sort(order));
  }));
}
// On paper nothing is folded.
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(each => { each.open = true; }));
