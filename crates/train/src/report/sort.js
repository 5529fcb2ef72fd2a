for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const value = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.toLowerCase();
  };
  const heads = Array.from(table.tHead.rows[0].cells);
  heads.forEach((head, column) => {
    const sort = () => {
      const direction = head.ariaSort === "descending" ? 1 : -1;
      heads.forEach((other) => { other.ariaSort = "none"; });
      head.ariaSort = direction === 1 ? "ascending" : "descending";
      const rows = Array.from(body.rows);
      rows.sort((a, b) => {
        const [left, right] = [value(a, column), value(b, column)];
        return direction * (left > right ? 1 : left === right ? 0 : -1);
      });
      body.append(...rows);
    };
    head.ariaSort = "none";
    head.tabIndex = 0;
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
  });
}
