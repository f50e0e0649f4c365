import os

from prefect import flow


@flow(log_prints=True)
def my_flow():
    print(f"Hello from Northflank, {os.environ.get('ENVIRONMENT', 'development')}!")
    return "Flow completed successfully"


if __name__ == "__main__":
    my_flow()
